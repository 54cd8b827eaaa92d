//! Images that come from files, under each Terraform.
#![allow(clippy::unwrap_used)]

use berth_acceptance_tests::under_each_terraform;

under_each_terraform!(
    an_image_of_an_archive_runs_and_follows_its_file,
    an_archive_that_gives_no_image_is_on_its_argument,
);

mod cases {
    use std::path::Path;
    use std::process::Command;

    use berth_acceptance_tests::{Project, Registry, Terraform, TestAgent, wait};

    /// Copies an image of the registry's into an archive.
    fn archive(registry: &Registry, tag: &str, kind: &str, path: &Path) {
        if path.exists() {
            std::fs::remove_file(path).unwrap();
        }
        let mut skopeo = Command::new("skopeo");
        skopeo.args(["--insecure-policy", "copy", "--quiet", "--src-tls-verify=false"]);
        skopeo.arg(format!("docker://{}/berth/tiny:{tag}", registry.host()));
        skopeo.arg(format!("{kind}:{}:example.com/tiny:{tag}", path.display()));
        let output = skopeo.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn configuration(arguments: &str) -> String {
        format!(
            "resource \"berth_image\" \"tiny\" {{\n  archive = \"${{path.module}}/tiny.tar\"\n  {arguments}\n}}\n\
             resource \"berth_instance\" \"web\" {{\n  name = \"web\"\n  image = berth_image.tiny.id\n  \
             ports = {{ http = {{ container_port = 8080 }} }}\n  stop_timeout = \"1s\"\n}}\n"
        )
    }

    fn page(agent: &TestAgent) -> String {
        let port = agent.inspect("web").unwrap()["ports"]["http"]["host_port"].as_u64().unwrap();
        wait::page(u16::try_from(port).unwrap(), "/").unwrap()
    }

    pub fn an_image_of_an_archive_runs_and_follows_its_file(terraform: &Terraform) {
        let (registry, agent) = (Registry::start().unwrap(), TestAgent::start().unwrap());
        let project = Project::new(terraform, &agent).unwrap();
        let path = project.dir().join("tiny.tar");
        archive(&registry, "1", "oci-archive", &path);
        project
            .write(&configuration(
                "reference = \"example.com/tiny:1\"\n  archive_sha256 = filesha256(\"${path.module}/tiny.tar\")",
            ))
            .unwrap();
        project.apply_settled();
        assert_eq!(page(&agent), "page one\n");
        let before = agent.inspect("web").unwrap();
        // Another content under the same name shows in the plan, and the same instance serves it.
        archive(&registry, "2", "docker-archive", &path);
        project
            .write(&configuration(
                "reference = \"example.com/tiny:2\"\n  archive_sha256 = filesha256(\"${path.module}/tiny.tar\")",
            ))
            .unwrap();
        assert_eq!(project.plan().unwrap().code, 2);
        project.apply_settled();
        assert_eq!(page(&agent), "page two\n");
        let after = agent.inspect("web").unwrap();
        assert_eq!((&before["id"], &before["ipv4_address"]), (&after["id"], &after["ipv4_address"]));
        // The file may be gone while nothing changes.
        std::fs::rename(&path, project.dir().join("elsewhere.tar")).unwrap();
        project.write(&configuration("reference = \"example.com/tiny:2\"\n  archive_sha256 = null")).unwrap();
        std::fs::rename(project.dir().join("elsewhere.tar"), &path).unwrap();
        project.apply_settled();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(project.plan().unwrap().code, 0);
        assert_eq!(project.destroy().unwrap().code, 0);
        assert_eq!(agent.berth_ok(&["--format", "json", "image", "ls"]).unwrap().trim(), "[]");
    }

    pub fn an_archive_that_gives_no_image_is_on_its_argument(terraform: &Terraform) {
        let (registry, agent) = (Registry::start().unwrap(), TestAgent::start().unwrap());
        let project = Project::new(terraform, &agent).unwrap();
        let refused = |text: &str, words: &[&str], code: &str| {
            project.write(text).unwrap();
            let applied = project.apply().unwrap();
            let error = applied.error().unwrap_or_else(|| panic!("{applied:?}")).clone();
            for word in words {
                let said = format!("{} {}", error.summary, error.detail);
                assert!(said.contains(word), "no {word:?} in {error:?}");
            }
            assert!(error.code.contains(code), "{error:?}");
            assert_eq!(agent.berth_ok(&["--format", "json", "image", "ls"]).unwrap().trim(), "[]");
        };
        refused(&configuration(""), &["tiny.tar cannot be read"], "archive");
        std::fs::write(project.dir().join("tiny.tar"), "nonsense").unwrap();
        refused(&configuration(""), &["not a whole tar file"], "archive");
        archive(&registry, "1", "oci-archive", &project.dir().join("tiny.tar"));
        refused(
            &configuration(&format!("archive_sha256 = \"{}\"", "0".repeat(64))),
            &["not what archive_sha256 says"],
            "archive_sha256",
        );
        refused(&configuration("platform = \"linux/s390x\""), &["linux/s390x", "linux/"], "archive");
        refused("resource \"berth_image\" \"none\" {\n}\n", &["neither a reference nor an archive"], "");
        project.write(&configuration("")).unwrap();
        project.apply_settled();
        assert_eq!(page(&agent), "page one\n");
    }
}
