//! The rules by which layers become one tree, each by itself.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::support::{Layer, gzip, import, import_with, mounted, read_tree, zstd};

#[test]
fn every_compression_gives_the_same_tree() {
    let tar = Layer::new().file("big", vec![b'x'; 100_000]).file("small", "y").symlink("l", "big").finish();
    let members = [&gzip(&tar[..700])[..], &gzip(&tar[700..])[..]].concat();
    let mut digests = Vec::new();
    for blob in [tar.clone(), gzip(&tar), zstd(&tar), members] {
        let imported = import_with(vec![(blob, tar.clone())], Default::default()).unwrap();
        digests.push(fs::read(&imported.image.tree).unwrap());
    }
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "the trees differ");
}

#[test]
fn a_hard_link_shares_its_file_over_layers() {
    let below = Layer::new().mode(0o600).file("a", vec![b'x'; 2000]).finish();
    let above = Layer::new().hardlink("dir/b", "a").hardlink("dir/c", "/dir/b").finish();
    let imported = import(&[below, above]).unwrap();
    mounted(&imported, |root| {
        let tree = read_tree(root);
        assert_eq!((tree["dir/b"].same_as.as_str(), tree["dir/c"].same_as.as_str()), ("a", "a"));
        assert_eq!(fs::metadata(root.join("a")).unwrap().nlink(), 3);
        assert_eq!(tree["dir/c"].mode, 0o600);
    });
}

#[test]
fn a_file_replaced_above_leaves_its_other_name_alone() {
    let below = Layer::new().file("a", "old").hardlink("b", "a").finish();
    let above = Layer::new().file("a", "new").finish();
    let imported = import(&[below, above]).unwrap();
    mounted(&imported, |root| {
        assert_eq!(fs::read_to_string(root.join("a")).unwrap(), "new");
        assert_eq!(fs::read_to_string(root.join("b")).unwrap(), "old");
    });
}

#[test]
fn types_change_from_layer_to_layer() {
    let below = Layer::new().dir("a").file("a/x", "x").file("b", "file").symlink("c", "b").finish();
    let above = Layer::new().file("a", "file").dir("b").file("b/y", "y").dir("c").finish();
    let imported = import(&[below, above]).unwrap();
    mounted(&imported, |root| {
        let tree = read_tree(root);
        let kinds: Vec<(&str, &str)> = tree.iter().map(|(path, node)| (path.as_str(), node.kind)).collect();
        let expected =
            [("", "directory"), ("a", "file"), ("b", "directory"), ("b/y", "file"), ("c", "directory")];
        assert_eq!(kinds, expected);
    });
}

#[test]
fn a_directory_above_keeps_what_is_below_it_and_brings_its_own_metadata() {
    let below = Layer::new().owner(1, 1).dir("d").file("d/x", "x").finish();
    let above = Layer::new().owner(7, 8).mtime(42).dir("d").finish();
    let imported = import(&[below, above]).unwrap();
    mounted(&imported, |root| {
        let tree = read_tree(root);
        assert_eq!((tree["d"].uid, tree["d"].gid, tree["d"].mtime), (7, 8, 42));
        assert!(tree.contains_key("d/x"));
    });
}

/// Overlay takes a device 0/0 for a whiteout of its own: it can be kept from hiding anything, not be shown as a device.
#[test]
fn a_whiteout_device_of_an_image_hides_nothing() {
    let below = Layer::new().file("a", "x").file("w", "below").finish();
    let above = Layer::new().device(b'3', "w", 0, 0).device(b'3', "dir/a", 0, 0);
    // One with a second name too, which a real whiteout never has.
    let above = above.hardlink("dir/again", "w").finish();
    let imported = import(&[below, above]).unwrap();
    mounted(&imported, |root| {
        let tree = read_tree(root);
        assert_eq!((tree["w"].kind, tree["w"].content.split(' ').next()), ("file", Some("0")));
        assert!(tree.contains_key("a") && tree.contains_key("dir/a") && tree.contains_key("dir/again"));
    });
    let checkout = imported.store.checkout(&imported.image.digest).unwrap();
    assert_eq!(read_tree(&checkout)["w"].content.split(' ').next(), Some("0"));
}

#[test]
fn names_that_are_not_text_and_long_ones_are_kept() {
    let long = format!("{}/{}", "p".repeat(200), "n".repeat(255));
    let imported = import(&[Layer::new().file(&long, "x").file(b"latin\xe9", "y").finish()]).unwrap();
    mounted(&imported, |root| {
        assert_eq!(fs::read_to_string(root.join(&long)).unwrap(), "x");
        let names: Vec<_> = fs::read_dir(root).unwrap().map(|e| e.unwrap().file_name()).collect();
        use std::os::unix::ffi::OsStrExt;
        assert!(names.iter().any(|name| name.as_bytes() == b"latin\xe9"));
    });
}

#[test]
fn one_file_in_two_images_is_stored_once() {
    let shared = vec![b's'; 1 << 20];
    let first =
        import(&[Layer::new().file("one/name", &shared).file("a", vec![b'a'; 1000]).finish()]).unwrap();
    let objects = |imported: &crate::support::Imported| {
        let dirs = fs::read_dir(imported.store.objects_dir()).unwrap();
        dirs.map(|dir| fs::read_dir(dir.unwrap().path()).unwrap().count()).sum::<usize>()
    };
    assert_eq!(objects(&first), 2);
    let again = import(&[
        Layer::new().file("one/name", &shared).finish(),
        Layer::new().file("other/name", &shared).file("third", &shared).finish(),
    ]);
    assert_eq!(objects(&again.unwrap()), 1);
}

#[test]
fn a_checkout_is_the_mounted_tree() {
    let below = Layer::new().owner(3, 4).dir("d").mode(0o4755).file("d/big", vec![b'x'; 5000]).finish();
    let above = Layer::new()
        .mode(0o640)
        .owner(1, 2)
        .mtime(99)
        .xattr("user.note", "kept")
        .file("small", "y")
        .hardlink("d/again", "d/big")
        .symlink("l", "../../d")
        .fifo("p")
        .device(b'3', "null", 1, 3)
        .dir("deep/er")
        .xattr("security.capability", [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        .file("deep/er/ping", vec![b'z'; 600])
        .finish();
    let imported = import(&[below, above]).unwrap();
    let checkout = imported.store.checkout(&imported.image.digest).unwrap();
    assert_eq!(imported.store.checkout(&imported.image.digest).unwrap(), checkout);
    let mounted = mounted(&imported, read_tree);
    assert_eq!(read_tree(&checkout), mounted);
    imported.store.remove(&imported.image.digest).unwrap();
    imported.store.collect().unwrap();
    assert!(!checkout.exists());
}
