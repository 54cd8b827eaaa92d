//! Users and groups by the image's own `/etc/passwd` and `/etc/group`. To be read from inside the container.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;

use berth_runtime::launch::{LaunchError, Stage};

use crate::failure::launch_error;

/// Who a program runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    /// The groups whose member lists name the user.
    pub supplementary: Vec<u32>,
    pub home: String,
}

/// No real file of users is larger.
const MAX_FILE: u64 = 4 << 20;

/// Finds "user[:group]", names or numbers; empty is root. `more`: groups that it is in beside those of the image's files.
pub fn find(text: &str, more: &[String]) -> Result<User, LaunchError> {
    let passwd = read("/etc/passwd")?;
    let groups = read("/etc/group")?;
    let mut user = lookup(text, &passwd, &groups)?;
    for name in more {
        user.supplementary.push(find_group(name, &groups)?);
    }
    Ok(user)
}

fn lookup(text: &str, passwd: &str, groups: &str) -> Result<User, LaunchError> {
    let (name, group) = match text.split_once(':') {
        Some((name, group)) => (name, Some(group).filter(|group| !group.is_empty())),
        None => (text, None),
    };
    let name = if name.is_empty() { "0" } else { name };
    let entry = entries(passwd).find(|fields| fields.first() == Some(&name)).or_else(|| {
        id(name)?;
        entries(passwd).find(|fields| fields.get(2) == Some(&name))
    });
    let field = |index: usize| entry.as_ref().and_then(|fields| fields.get(index).copied());
    let uid = id(field(2).unwrap_or(name)).ok_or_else(|| missing(Stage::User, name))?;
    let gid = match group {
        Some(group) => find_group(group, groups)?,
        // One that is none must not become root's.
        None => field(3).map_or(Some(0), id).ok_or_else(|| missing(Stage::Group, name))?,
    };
    let login = entry.as_ref().and_then(|fields| fields.first().copied()).unwrap_or(name);
    // A group that was named is the only one, as Docker has it.
    let supplementary = if group.is_some() { Vec::new() } else { memberships(login, groups) };
    let home = entry.as_ref().and_then(|fields| fields.get(5).copied()).filter(|home| !home.is_empty());
    Ok(User { uid, gid, supplementary, home: home.unwrap_or("/").to_owned() })
}

fn entries(file: &str) -> impl Iterator<Item = Vec<&str>> {
    file.lines().map(|line| line.split(':').collect())
}

fn find_group(name: &str, groups: &str) -> Result<u32, LaunchError> {
    let entry = entries(groups).find(|fields| fields.first() == Some(&name));
    let number = entry.and_then(|fields| fields.get(2).copied()).unwrap_or(name);
    id(number).ok_or_else(|| missing(Stage::Group, name))
}

/// To the kernel the last number means that nothing is to change: who is root would stay root.
fn id(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| *id != u32::MAX)
}

fn memberships(login: &str, groups: &str) -> Vec<u32> {
    entries(groups)
        .filter(|fields| {
            fields.get(3).is_some_and(|members| members.split(',').any(|member| member == login))
        })
        .filter_map(|fields| id(fields.get(2)?))
        .collect()
}

fn missing(stage: Stage, name: &str) -> LaunchError {
    LaunchError { stage, errno: libc::ENOENT, path: name.into() }
}

/// An absent file knows nobody. A fifo or device of the image's must not be waited for.
fn read(path: &str) -> Result<String, LaunchError> {
    let read = || {
        let file =
            OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let mut bytes = Vec::new();
        file.take(MAX_FILE).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    match read() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        result => result.map_err(launch_error(Stage::User, path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nwww:x:33:33::/var/www:\nbroken\nbig:x:70000:7:::\n";
    const GROUP: &str = "root:x:0:\nwww:x:33:\nssl:x:104:www,other\nadm:x:4:other\n";

    fn found(text: &str) -> (u32, u32, Vec<u32>, String) {
        let user = lookup(text, PASSWD, GROUP).unwrap();
        (user.uid, user.gid, user.supplementary, user.home)
    }

    #[test]
    fn names_and_numbers_are_found_as_docker_finds_them() {
        assert_eq!(found(""), (0, 0, vec![], "/root".into()));
        assert_eq!(found("www"), (33, 33, vec![104], "/var/www".into()));
        assert_eq!(found("33"), (33, 33, vec![104], "/var/www".into()));
        assert_eq!(found("www:adm"), (33, 4, vec![], "/var/www".into()));
        assert_eq!(found("1234"), (1234, 0, vec![], "/".into()));
        assert_eq!(found("1234:5678"), (1234, 5678, vec![], "/".into()));
    }

    #[test]
    fn a_name_that_the_image_does_not_know_is_named() {
        let error = lookup("nobody-here", PASSWD, GROUP).unwrap_err();
        assert_eq!((error.stage, error.path.to_str()), (Stage::User, Some("nobody-here")));
        let error = lookup("www:nothing", PASSWD, GROUP).unwrap_err();
        assert_eq!((error.stage, error.path.to_str()), (Stage::Group, Some("nothing")));
    }

    #[test]
    fn a_number_that_is_none_is_not_root() {
        let passwd =
            "last:x:4294967295:1:::\nbeyond:x:4294967296:1:::\nof:x:5:4294967295:::\nlost:x:5:-1:::\n";
        let group = "last:x:4294967295:member\nbeyond:x:4294967296:\n";
        for name in ["last", "beyond", "4294967295", "4294967296", "-1"] {
            assert_eq!(lookup(name, passwd, group).unwrap_err().stage, Stage::User, "{name}");
            let named = format!("1:{name}");
            assert_eq!(lookup(&named, passwd, group).unwrap_err().stage, Stage::Group, "{name}");
        }
        for name in ["of", "lost", "5"] {
            assert_eq!(lookup(name, passwd, group).unwrap_err().stage, Stage::Group, "{name}");
        }
        assert_eq!(lookup("member:0", passwd, group).unwrap_err().stage, Stage::User);
        assert_eq!(memberships("member", group), Vec::<u32>::new());
    }
}
