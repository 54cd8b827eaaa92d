//! A server over TLS, in Python, whose certificate nobody has signed but itself. It listens on the loopback alone.

use std::io;
use std::path::Path;

use crate::Error;

/// The port that it listens on.
pub const PORT: u16 = 8443;

/// Runs it, in an image with Python that has [`FILES`].
pub const COMMAND: [&str; 3] = ["/usr/bin/python3", "-u", "/etc/server.py"];

/// Puts it into an instance, in a project with what [`write`] writes.
pub const FILES: &str = "files = {
    \"/etc/server.pem\" = { content = file(\"${path.module}/server.pem\") }
    \"/etc/server.py\" = { content = file(\"${path.module}/server.py\") }
  }";

/// Answers 200 for `/well` and 503 else.
const SERVER: &str = "\
import http.server, ssl
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == '/well' else 503)
        self.end_headers()
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('/etc/server.pem')
server = http.server.HTTPServer(('127.0.0.1', 8443), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
";

/// Writes its key, its certificate and its program into a directory.
pub fn write(directory: &Path) -> Result<(), Error> {
    let made = rcgen::KeyPair::generate().and_then(|key| {
        let certificate = rcgen::CertificateParams::new(vec!["web".to_owned()])?.self_signed(&key)?;
        Ok(key.serialize_pem() + &certificate.pem())
    });
    let path = directory.join("server.pem");
    let identity = made.map_err(io::Error::other).map_err(Error::io("make", &path))?;
    std::fs::write(&path, identity).map_err(Error::io("write", &path))?;
    let path = directory.join("server.py");
    std::fs::write(&path, SERVER).map_err(Error::io("write", &path))
}
