//! A token server, as registries of the larger kind have one: it trades a user's password for signed tokens.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::{BASE64, BASE64URL_NOPAD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::json;
use tempfile::TempDir;

use crate::registry::{PASSWORD, USER};
use crate::{Error, wait};

/// Who issues the tokens, and for whom.
pub const ISSUER: &str = "berth-tests";
/// What the registry calls itself.
pub const SERVICE: &str = "registry-of-tests";

/// A running token server. Dropped, it is gone.
pub struct TokenServer {
    dir: TempDir,
    port: u16,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

struct State {
    key: EcdsaKeyPair,
    certificate: String,
    ended: AtomicBool,
    issued: AtomicUsize,
    /// What came in `Authorization`, so that tests can tell that the password did.
    identity_token: Mutex<Option<String>>,
}

impl TokenServer {
    /// Starts one on a port that the kernel chooses, with a key of its own.
    pub fn start() -> Result<Self, Error> {
        let unusable = |what: &str| Error::Tokens { what: what.to_owned() };
        let dir = tempfile::tempdir().map_err(Error::io("make a directory in", &std::env::temp_dir()))?;
        let pair = rcgen::KeyPair::generate().map_err(|_| unusable("its key"))?;
        let params = rcgen::CertificateParams::new(vec![ISSUER.to_owned()]);
        let certificate = params.and_then(|params| params.self_signed(&pair));
        let certificate = certificate.map_err(|_| unusable("its certificate"))?;
        let path = dir.path().join("tokens.pem");
        std::fs::write(&path, certificate.pem()).map_err(Error::io("write", &path))?;
        let key = EcdsaKeyPair::from_pkcs8(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            pair.serialized_der(),
            &SystemRandom::new(),
        );
        let state = Arc::new(State {
            key: key.map_err(|_| unusable("its key"))?,
            certificate: BASE64.encode(certificate.der()),
            ended: AtomicBool::new(false),
            issued: AtomicUsize::new(0),
            identity_token: Mutex::new(None),
        });
        let listener =
            TcpListener::bind("127.0.0.1:0").map_err(Error::io("listen on", Path::new("loopback")))?;
        let port = listener.local_addr().map_err(Error::io("look at", Path::new("loopback")))?.port();
        let serving = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if serving.ended.load(Ordering::Relaxed) {
                    return;
                }
                // A client that goes away is its own affair.
                let _ = serving.answer(stream);
            }
        });
        Ok(Self { dir, port, state, thread: Some(thread) })
    }

    /// What the registry sends its clients to.
    pub fn realm(&self) -> String {
        format!("http://127.0.0.1:{}/token", self.port)
    }

    /// PEM of the certificate that vouches for its tokens.
    pub fn certificate(&self) -> PathBuf {
        self.dir.path().join("tokens.pem")
    }

    /// How many tokens it gave.
    pub fn issued(&self) -> usize {
        self.state.issued.load(Ordering::Relaxed)
    }

    /// From now on this token is as good as the password.
    pub fn take_identity_token(&self, token: &str) {
        let mut known = self.state.identity_token.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some(token.to_owned());
    }
}

impl Drop for TokenServer {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::Relaxed);
        // Wakes it, so that it sees.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl State {
    fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(wait::ONE_ANSWER))?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let (mut first, mut length, mut authorization) = (String::new(), 0, String::new());
        reader.read_line(&mut first)?;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            match name.to_ascii_lowercase().as_str() {
                "authorization" => authorization = value.trim().to_owned(),
                "content-length" => length = value.trim().parse().unwrap_or(0),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let body = String::from_utf8_lossy(&body).into_owned();
        let query = first.split_whitespace().nth(1).and_then(|target| target.split_once('?'));
        let asked = format!("{}&{body}", query.map_or("", |(_, query)| query));
        let (status, text) = if self.knows(&authorization, &body) {
            self.issued.fetch_add(1, Ordering::Relaxed);
            let token = self.token(&asked);
            ("200 OK", json!({ "token": token, "access_token": token, "expires_in": 300 }).to_string())
        } else {
            ("401 Unauthorized", "{}".to_owned())
        };
        write!(
            stream,
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
            text.len()
        )
    }

    fn knows(&self, authorization: &str, body: &str) -> bool {
        let password = format!("Basic {}", BASE64.encode(format!("{USER}:{PASSWORD}").as_bytes()));
        let known = self.identity_token.lock().unwrap_or_else(PoisonError::into_inner);
        let exchanged = known.as_ref().is_some_and(|token| {
            body.contains("grant_type=refresh_token") && body.contains(&format!("refresh_token={token}"))
        });
        authorization == password || exchanged
    }

    /// A JSON web token for what was asked for, good for five minutes.
    fn token(&self, asked: &str) -> String {
        let scope = asked.split('&').find_map(|pair| pair.strip_prefix("scope=")).unwrap_or_default();
        let scope = scope.replace("%3A", ":").replace("%2F", "/").replace("%2C", ",").replace("%2A", "*");
        let parts: Vec<&str> = scope.splitn(3, ':').collect();
        let access = match parts.as_slice() {
            [kind, name, actions] => {
                json!([{ "type": kind, "name": name, "actions": actions.split(',').collect::<Vec<_>>() }])
            }
            _ => json!([]),
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let claims = json!({
            "iss": ISSUER, "sub": USER, "aud": SERVICE, "access": access, "jti": "1",
            "nbf": now - 60, "iat": now, "exp": now + 300,
        });
        let header = json!({ "typ": "JWT", "alg": "ES256", "x5c": [self.certificate] });
        let part = |value: &serde_json::Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes());
        let signature = signature.map(|signature| BASE64URL_NOPAD.encode(signature.as_ref()));
        // Without one the registry refuses the token, and the test says so.
        format!("{signed}.{}", signature.unwrap_or_default())
    }
}
