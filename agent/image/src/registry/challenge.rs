//! `WWW-Authenticate`: which way of authenticating a registry asks for.

/// A way to authenticate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User name and password with every request.
    Basic,
    /// A token from `realm`.
    Bearer { realm: String, service: Option<String> },
}

/// Reads one header; a header may hold several challenges. What is not understood is passed over.
pub(crate) fn parse(header: &str) -> Vec<Challenge> {
    let mut challenges = Vec::new();
    let mut rest = header.trim_start();
    while !rest.is_empty() {
        let end = rest.find(|c: char| c.is_whitespace() || c == ',').unwrap_or(rest.len());
        let (scheme, after) = rest.split_at(end);
        let (parameters, remaining) = parameters(after);
        let get = |name: &str| {
            parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
        };
        if scheme.eq_ignore_ascii_case("basic") {
            challenges.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer")
            && let Some(realm) = get("realm")
        {
            challenges.push(Challenge::Bearer { realm, service: get("service") });
        }
        let next = remaining.trim_start_matches(|c: char| c == ',' || c.is_whitespace());
        // What is neither a scheme nor a parameter is passed over: each turn takes something away.
        rest = if next.len() < rest.len() { next } else { skip_one(rest) };
    }
    challenges
}

fn skip_one(text: &str) -> &str {
    let mut rest = text.chars();
    rest.next();
    rest.as_str()
}

/// `key=value, key="value"`: stops before what is no parameter, the next scheme.
fn parameters(text: &str) -> (Vec<(String, String)>, &str) {
    let mut found = Vec::new();
    let mut rest = text;
    loop {
        let candidate = rest.trim_start_matches([',', ' ', '\t']);
        let key_end = candidate.find(|c: char| c == '=' || c == ',' || c.is_whitespace());
        let Some((key, value)) = key_end.and_then(|end| {
            let (key, after) = candidate.split_at(end);
            after.strip_prefix('=').filter(|_| !key.is_empty()).map(|value| (key, value))
        }) else {
            return (found, candidate);
        };
        let (value, after) = value_of(value);
        found.push((key.to_owned(), value));
        rest = after;
    }
}

fn value_of(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(|c: char| c == ',' || c.is_whitespace()).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return (value.to_owned(), rest);
    };
    let mut value = String::new();
    let mut escaped = false;
    for (index, c) in quoted.char_indices() {
        match c {
            _ if escaped => {
                value.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return (value, &quoted[index + 1..]),
            _ => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bearer(realm: &str, service: Option<&str>) -> Challenge {
        Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned) }
    }

    #[test]
    fn what_registries_send_is_understood() {
        assert_eq!(parse("Basic realm=\"x\""), [Challenge::Basic]);
        assert_eq!(
            parse(
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="a:b:pull,push""#
            ),
            [bearer("https://auth.docker.io/token", Some("registry.docker.io"))]
        );
        assert_eq!(
            parse(r#"Basic realm="a, b", bearer service=s, realm=https://x/"#),
            [Challenge::Basic, bearer("https://x/", Some("s"))]
        );
        assert_eq!(parse(r#"Negotiate, Bearer realm="a\"b""#), [bearer("a\"b", None)]);
        assert_eq!(parse(r#"Bearer realm="unterminated"#), [bearer("unterminated", None)]);
        assert_eq!(parse("Bearer service=s"), []);
        // These made it go round in circles.
        assert_eq!(parse("=x"), []);
        assert_eq!(parse(",=, Basic"), [Challenge::Basic]);
        assert_eq!(parse("\u{a0}, \u{2003}=\u{a0}"), []);
        assert_eq!(parse(""), []);
    }

    proptest! {
        #[test]
        fn no_header_panics_or_loops(header in "([A-Za-z]{1,7}|[ ,=\"\\\\]|realm=|\\PC){0,40}") {
            let _ = parse(&header);
        }
    }
}
