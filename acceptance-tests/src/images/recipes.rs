//! The images themselves.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use super::Config;
use crate::Error;

/// How one image is made.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// The repository in the registry.
    pub repository: &'static str,
    /// Its tag.
    pub tag: &'static str,
    /// From the lowest up.
    pub layers: Vec<Layer>,
    /// How it runs.
    pub config: Config,
}

impl Recipe {
    /// "repository:tag".
    pub fn reference(&self) -> String {
        format!("{}:{}", self.repository, self.tag)
    }
}

/// What one layer holds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Layer {
    /// Debian packages; what they depend on comes with them.
    pub packages: &'static [&'static str],
    /// Starts of the names of packages that are left out.
    pub leave_out: &'static [&'static str],
    /// Files beside them.
    pub entries: &'static [Entry],
}

/// A file, directory or link that a recipe adds.
#[derive(Debug, Clone, Copy)]
pub enum Entry {
    /// A path, its mode and its content.
    File(&'static str, u32, &'static str),
    /// A path, its mode and its owner, who is its group too.
    Dir(&'static str, u32, u32),
    /// A path and where it leads.
    Link(&'static str, &'static str),
}

impl Entry {
    /// Puts it into a tree.
    pub fn write(&self, tree: &Path) -> Result<(), Error> {
        let (Self::File(path, ..) | Self::Dir(path, ..) | Self::Link(path, ..)) = self;
        let path = tree.join(path);
        let parent = path.parent().unwrap_or(tree);
        fs::create_dir_all(parent).map_err(Error::io("make", parent))?;
        match self {
            Self::File(_, mode, content) => {
                fs::write(&path, content).map_err(Error::io("write", &path))?;
                set_mode(&path, *mode)
            }
            Self::Dir(_, mode, owner) => {
                fs::create_dir_all(&path).map_err(Error::io("make", &path))?;
                chown(&path, Some(*owner), Some(*owner)).map_err(Error::io("give away", &path))?;
                set_mode(&path, *mode)
            }
            Self::Link(_, to) => {
                let _ = fs::remove_file(&path);
                symlink(to, &path).map_err(Error::io("link", &path))
            }
        }
    }
}

fn set_mode(path: &Path, mode: u32) -> Result<(), Error> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(Error::io("set the mode of", path))
}

const PASSWD: Entry = Entry::File(
    "etc/passwd",
    0o644,
    "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/var/www:/bin/false\napp:x:1000:1000::/srv:/bin/sh\n\
     postgres:x:999:999::/var/lib/postgresql:/bin/sh\nnobody:x:65534:65534::/nonexistent:/bin/false\n",
);
const GROUP: Entry = Entry::File(
    "etc/group",
    0o644,
    "root:x:0:\nwww-data:x:33:\napp:x:1000:\npostgres:x:999:\nnogroup:x:65534:\n",
);
const TMP: Entry = Entry::Dir("tmp", 0o1777, 0);

/// Every image that the acceptance cases use.
pub fn all() -> Vec<Recipe> {
    vec![tiny("1", &TINY_PAGE_1), tiny("2", &TINY_PAGE_2), web(), database(), interpreter()]
}

const TINY_PAGE_1: [Entry; 1] = [Entry::File("www/index.html", 0o644, "page one\n")];
const TINY_PAGE_2: [Entry; 1] = [Entry::File("www/index.html", 0o644, "page two\n")];

/// A static busybox and one page: for all cases that are not about a certain program.
fn tiny(tag: &'static str, page: &'static [Entry]) -> Recipe {
    const BUSYBOX: Layer = Layer {
        packages: &["busybox-static"],
        leave_out: &[],
        entries: &[
            PASSWD,
            GROUP,
            TMP,
            Entry::Link("bin/sh", "busybox"),
            Entry::Link("bin/true", "busybox"),
            Entry::Link("bin/false", "busybox"),
            Entry::Link("bin/sleep", "busybox"),
            Entry::Link("bin/cat", "busybox"),
            Entry::Link("bin/id", "busybox"),
            Entry::Link("bin/readlink", "busybox"),
            Entry::Link("bin/httpd", "busybox"),
            Entry::File("bin/not-executable", 0o644, "no program\n"),
            // Serves /www and what it makes at each start: /www/env and /www/started.
            Entry::File(
                "bin/serve",
                0o755,
                "#!/bin/sh\nenv | busybox sort > /www/env\necho \"$@\" > /www/args\n\
                 echo start >> /www/started\necho \"serving as $(id -u)\"\n\
                 exec httpd -f -p 8080 -h /www\n",
            ),
        ],
    };
    Recipe {
        repository: "berth/tiny",
        tag,
        layers: vec![BUSYBOX, Layer { entries: page, ..Layer::default() }],
        config: Config {
            entrypoint: &["/bin/serve"],
            command: &["from-image"],
            environment: &["PATH=/usr/bin:/bin", "GREETING=hello from the image"],
            working_dir: "/",
            port: "8080/tcp",
            ..Config::default()
        },
    }
}

/// nginx, as Debian builds it.
fn web() -> Recipe {
    const NGINX: Layer = Layer {
        packages: &["nginx-light"],
        leave_out: &["iproute2", "libbpf", "libdb", "libcap2-bin", "debconf", "libelf", "libxtables"],
        entries: &[PASSWD, GROUP, TMP],
    };
    const SITE: Layer = Layer {
        packages: &[],
        leave_out: &[],
        entries: &[
            Entry::File(
                "etc/nginx/nginx.conf",
                0o644,
                "user www-data;\nworker_processes 1;\npid /run/nginx.pid;\nerror_log stderr;\n\
                 events { worker_connections 64; }\nhttp {\n  access_log /dev/stdout;\n  \
                 server { listen 80; root /var/www/html; }\n}\n",
            ),
            Entry::File(
                "var/www/html/index.html",
                0o644,
                "<!doctype html>\n<title>Berth</title>\n<h1>Hello from nginx in a container that Berth runs</h1>\n",
            ),
            Entry::Dir("var/log/nginx", 0o755, 0),
            Entry::Dir("var/lib/nginx", 0o755, 0),
            Entry::Dir("run", 0o755, 0),
        ],
    };
    Recipe {
        repository: "berth/web",
        tag: "1",
        layers: vec![NGINX, SITE],
        config: Config {
            entrypoint: &["/usr/sbin/nginx"],
            command: &["-g", "daemon off;"],
            environment: &["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
            port: "80/tcp",
            stop_signal: "SIGQUIT",
            ..Config::default()
        },
    }
}

/// PostgreSQL, which makes its cluster in its rootfs at the first start.
fn database() -> Recipe {
    const POSTGRES: Layer = Layer {
        packages: &["postgresql-15", "busybox-static"],
        leave_out: &[
            "perl",
            "libperl",
            "libllvm",
            "libz3",
            "dpkg",
            "debconf",
            "adduser",
            "passwd",
            "libpam-modules-bin",
            "libc-l10n",
            "locales",
            "usrmerge",
            "ucf",
            "lib-file",
            "libjson",
            "sysvinit",
            "init-system",
        ],
        entries: &[
            PASSWD,
            GROUP,
            TMP,
            Entry::Link("usr/bin/sh", "busybox"),
            Entry::Dir("var/lib/postgresql", 0o700, 999),
            Entry::Dir("run/postgresql", 0o775, 999),
            Entry::Link("var/run", "../run"),
            Entry::File(
                "usr/bin/run-database",
                0o755,
                "#!/bin/sh\nset -e\nexport PATH=/usr/lib/postgresql/15/bin:$PATH\n\
                 if [ ! -s \"$PGDATA/PG_VERSION\" ]; then\n  \
                 initdb --no-sync --auth=trust --locale=C --encoding=UTF8\n  \
                 echo 'host all all 0.0.0.0/0 trust' >> \"$PGDATA/pg_hba.conf\"\nfi\n\
                 exec postgres -c listen_addresses='*' -c dynamic_shared_memory_type=mmap\n",
            ),
        ],
    };
    Recipe {
        repository: "berth/database",
        tag: "1",
        layers: vec![POSTGRES],
        config: Config {
            entrypoint: &["/usr/bin/run-database"],
            environment: &["PATH=/usr/bin:/bin", "PGDATA=/var/lib/postgresql/data"],
            user: "postgres",
            working_dir: "/var/lib/postgresql",
            port: "5432/tcp",
            stop_signal: "SIGINT",
            ..Config::default()
        },
    }
}

/// Python and a program that answers from its arguments and environment.
fn interpreter() -> Recipe {
    const PYTHON: Layer = Layer {
        packages: &["python3"],
        leave_out: &["dpkg", "tar", "libdb", "media-types"],
        entries: &[PASSWD, GROUP, TMP],
    };
    const PROGRAM: Layer = Layer {
        packages: &[],
        leave_out: &[],
        entries: &[Entry::File(
            "srv/app.py",
            0o644,
            "import http.server, json, os, sys\n\n\n\
             class Handler(http.server.BaseHTTPRequestHandler):\n    def do_GET(self):\n        \
             body = json.dumps({'path': self.path, 'args': sys.argv[1:], 'uid': os.getuid(),\n            \
             'greeting': os.environ.get('GREETING')}).encode()\n        \
             self.send_response(200)\n        self.send_header('Content-Length', str(len(body)))\n        \
             self.end_headers()\n        self.wfile.write(body)\n\n\n\
             http.server.ThreadingHTTPServer(('', 8000), Handler).serve_forever()\n",
        )],
    };
    Recipe {
        repository: "berth/interpreter",
        tag: "1",
        layers: vec![PYTHON, PROGRAM],
        config: Config {
            entrypoint: &["/usr/bin/python3", "-u", "app.py"],
            command: &["from-image"],
            environment: &["PATH=/usr/bin:/bin", "GREETING=hello"],
            user: "app",
            working_dir: "/srv",
            port: "8000/tcp",
            ..Config::default()
        },
    }
}

/// Five layers and about 350 MB of files: what the benches pull.
pub fn layered() -> Recipe {
    const fn of(packages: &'static [&'static str]) -> Layer {
        Layer { packages, leave_out: &[], entries: &[] }
    }
    let pinned = Layer { entries: &[PASSWD, GROUP, TMP], ..of(&["bash", "coreutils", "perl"]) };
    Recipe {
        repository: "berth/layered",
        tag: "1",
        layers: vec![
            pinned,
            of(&["python3"]),
            of(&["git"]),
            Layer { leave_out: &["perl", "libperl"], ..of(&["postgresql-15"]) },
            Layer {
                entries: &[Entry::File("srv/app.txt", 0o644, "the application\n")],
                ..of(&["nginx-light"])
            },
        ],
        config: Config { entrypoint: &["/bin/bash"], ..Config::default() },
    }
}
