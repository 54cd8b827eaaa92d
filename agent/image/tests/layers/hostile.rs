//! hostile.md, lines 1 to 8 and 10: what a layer may try, and what becomes of it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use berth_image::import::limits::Limits;

use crate::support::{Layer, gzip, import, import_with, mounted, pax_records, read_tree, refused, zstd};

/// Line 1.
#[test]
fn paths_that_climb_are_refused_and_absolute_ones_stay_inside() {
    for path in ["../evil", "a/../../evil", "/../evil", "a/..", ".."] {
        let error = refused(&[Layer::new().file(path, "x").finish()]);
        assert!(error.contains(&format!("{path:?}")) && error.contains("leave its directory"), "{error}");
    }
    let imported = import(&[Layer::new().file("/etc/absolute", "inside").finish()]).unwrap();
    mounted(&imported, |root| {
        assert_eq!(fs::read_to_string(root.join("etc/absolute")).unwrap(), "inside");
    });
}

/// Line 2: CVE-2021-29136.
#[test]
fn the_root_stays_a_directory() {
    for path in ["/.", ".", "./", "/", "//."] {
        let error = refused(&[Layer::new().symlink(path, "/etc").finish()]);
        assert!(
            error.contains("root") && error.contains("something else than a directory"),
            "{path}: {error}"
        );
    }
    let error = refused(&[Layer::new().hardlink(".", "etc").finish()]);
    assert!(error.contains("something else than a directory"), "{error}");
}

/// Line 3.
#[test]
fn a_write_through_a_link_of_a_lower_layer_lands_in_the_image() {
    let host = tempfile::tempdir().unwrap();
    let target = host.path().to_str().unwrap();
    let below = Layer::new().symlink("out", target).symlink("up", "../../../../../..").dir("real");
    let below = below.symlink("d/root", "/real").finish();
    let above =
        Layer::new().file("out/evil", "one").file("up/etc/evil", "two").file("d/root/x", "three").finish();
    let imported = import(&[below, above]).unwrap();
    assert_eq!(fs::read_dir(host.path()).unwrap().count(), 0, "a layer has written to the host");
    mounted(&imported, |root| {
        // The link is followed inside the image, where there is no such directory yet: it is made there.
        assert_eq!(
            fs::read_to_string(root.join(target.trim_start_matches('/')).join("evil")).unwrap(),
            "one"
        );
        assert_eq!(fs::read_to_string(root.join("etc/evil")).unwrap(), "two");
        assert_eq!(fs::read_to_string(root.join("real/x")).unwrap(), "three");
        assert!(fs::symlink_metadata(root.join("out")).unwrap().is_symlink());
    });
}

/// Line 3, in one layer, and links that lead round.
#[test]
fn links_that_lead_round_are_refused() {
    let layer = Layer::new().symlink("a", "b").symlink("b", "a").file("a/x", "x").finish();
    let error = refused(&[layer]);
    assert!(error.contains("too many symbolic links"), "{error}");
}

/// Line 3: what is no directory and no link leads nowhere.
#[test]
fn a_path_below_a_file_is_refused() {
    for below in [Layer::new().file("f", "x"), Layer::new().fifo("f"), Layer::new().device(b'3', "f", 1, 3)] {
        let error = refused(&[below.finish(), Layer::new().file("f/x", "y").finish()]);
        assert!(error.contains("\"f\" on its way is not a directory"), "{error}");
    }
    let error = refused(&[Layer::new().symlink("l", "").finish()]);
    assert!(error.contains("symbolic link to nowhere"), "{error}");
}

/// Line 4.
#[test]
fn a_hard_link_reaches_nothing_outside() {
    for target in ["/etc/passwd", "../etc/passwd", "../../etc/shadow", "missing", "dir", ""] {
        let layer = Layer::new().dir("dir").hardlink("link", target).finish();
        let error = refused(&[layer]);
        assert!(
            error.contains("hard link") && error.contains("not a file of the image"),
            "{target}: {error}"
        );
    }
    // Through a symbolic link that leads outside: the path is the image's own.
    let layer = Layer::new().symlink("out", "/etc").hardlink("link", "out/passwd").finish();
    assert!(refused(&[layer]).contains("not a file of the image"));
}

/// Line 5.
#[test]
fn malformed_whiteouts_are_refused() {
    for path in [".wh.", "dir/.wh.", ".wh...", ".wh..", "dir/.wh...", ".wh.dir/file", "dir/.wh.x/y"] {
        let layers = [Layer::new().file("dir/keep", "x").finish(), Layer::new().whiteout(path).finish()];
        let error = refused(&layers);
        assert!(error.contains("malformed whiteout") && error.contains("layer 2"), "{path}: {error}");
    }
}

/// Line 5: through a link the whiteout acts inside the image, and never on the link's own layer's host.
#[test]
fn a_whiteout_through_a_link_stays_inside() {
    let host = tempfile::tempdir().unwrap();
    fs::write(host.path().join("precious"), "x").unwrap();
    let target = host.path().to_str().unwrap();
    let below = Layer::new().symlink("out", target).file("real/a", "x").symlink("in", "real").finish();
    let above = Layer::new().whiteout("out/.wh.precious").whiteout("in/.wh.a").finish();
    let imported = import(&[below, above]).unwrap();
    assert!(host.path().join("precious").exists(), "a whiteout has removed a file of the host");
    mounted(&imported, |root| {
        assert!(!root.join("real/a").exists(), "the whiteout did not act through the image's own link");
        assert!(fs::symlink_metadata(root.join("in")).unwrap().is_symlink());
    });
}

/// Line 5: a whiteout acts on lower layers alone, wherever it stands in its own.
#[test]
fn a_whiteout_before_or_after_its_own_layers_entry_spares_it() {
    let below = || Layer::new().file("d/old", "old").file("f", "old").finish();
    let before =
        Layer::new().whiteout(".wh.f").file("f", "new").whiteout("d/.wh..wh..opq").file("d/new", "new");
    let after =
        Layer::new().file("f", "new").whiteout(".wh.f").file("d/new", "new").whiteout("d/.wh..wh..opq");
    for above in [before, after] {
        let imported = import(&[below(), above.finish()]).unwrap();
        mounted(&imported, |root| {
            let tree: Vec<String> = read_tree(root).into_keys().collect();
            assert_eq!(tree, ["", "d", "d/new", "f"]);
            assert_eq!(fs::read_to_string(root.join("f")).unwrap(), "new");
        });
    }
    // The whiteout of a directory spares what its own layer put below it, whatever way led there.
    let below = Layer::new().file("d/old", "old").symlink("up", "../../..").finish();
    let above = Layer::new().file("up/d/new", "new").whiteout(".wh.d").whiteout("gone/.wh.x").finish();
    mounted(&import(&[below, above]).unwrap(), |root| {
        let tree: Vec<String> = read_tree(root).into_keys().collect();
        assert_eq!(tree, ["", "d", "d/new", "up"]);
    });
}

/// Line 6: CVE-2025-62518. What the ustar size hides must not be read as entries of their own.
#[test]
fn where_sizes_disagree_pax_wins_and_nothing_is_smuggled() {
    let smuggled = Layer::new().file("smuggled", "x").finish();
    let layer = Layer::new().pax("size", smuggled.len().to_string());
    let header = layer.header(b'0', b"outer", b"", 0);
    let imported = import(&[layer.raw(header, &smuggled).finish()]).unwrap();
    mounted(&imported, |root| {
        let tree: Vec<String> = read_tree(root).into_keys().collect();
        assert_eq!(tree, ["", "outer"], "the body of one file was read as another");
        assert_eq!(fs::metadata(root.join("outer")).unwrap().len(), smuggled.len() as u64);
    });
}

/// Line 6: a size means the same to every reader.
#[test]
fn sizes_that_are_none_are_refused_and_what_has_no_body_has_none() {
    let sized = |kind: u8, field: &[u8; 12]| {
        let mut header = Layer::new().header(kind, b"odd", b"", 0);
        header[124..136].copy_from_slice(field);
        Layer::new().raw(header, b"")
    };
    // -1, more than fits into a number, and no number at all.
    let mut huge = [0xff; 12];
    huge[0] = 0x80;
    for field in [&[0xff; 12], &huge, b"0000000000x\0"] {
        for kind in [b'0', b'x', b'L'] {
            let error = refused(&[sized(kind, field).finish()]);
            assert!(error.contains("size") && error.contains("not a number in range"), "{error}");
        }
    }
    // A directory with a size would take the entries after it for its body.
    let layer = sized(b'5', b"00000001000\0").file("after", "x").finish();
    mounted(&import(&[layer]).unwrap(), |root| {
        let tree: Vec<String> = read_tree(root).into_keys().collect();
        assert_eq!(tree, ["", "after", "odd"]);
    });
}

/// Line 6: names that two readers would read differently.
#[test]
fn headers_that_contradict_each_other_are_refused() {
    let long = Layer::new().header(b'L', b"././@LongLink", b"", 6);
    let layer = Layer::new().raw(long, b"gnu/x\0").pax("path", "pax/x").file("plain", "x").finish();
    let error = refused(&[layer]);
    assert!(error.contains("contradict each other"), "{error}");
    let records = pax_records(&[("path".to_owned(), b"everywhere".to_vec())]);
    let global = Layer::new().header(b'g', b"pax_global_header", b"", records.len() as u64);
    let error = refused(&[Layer::new().raw(global, &records).file("f", "x").finish()]);
    assert!(error.contains("global PAX header changes entries"), "{error}");
    // One that only comments, as git archive writes it, is fine.
    let records = pax_records(&[("comment".to_owned(), b"0123".to_vec())]);
    let global = Layer::new().header(b'g', b"pax_global_header", b"", records.len() as u64);
    import(&[Layer::new().raw(global, &records).file("f", "x").finish()]).unwrap();
}

/// Line 7.
#[test]
fn malformed_pax_records_are_refused() {
    let records: [&[u8]; 8] = [
        b"garbage",
        b"5 a=b",
        b"999 path=x\n",
        b"0 path=x\n",
        b"11 path=a\0b\n",
        b"13 size=-100\n",
        b"12 mtime=1x\n",
        b"29 size=99999999999999999999\n",
    ];
    for record in records {
        let header = Layer::new().header(b'x', b"PaxHeaders/x", b"", record.len() as u64);
        let error = refused(&[Layer::new().raw(header, record).file("f", "x").finish()]);
        assert!(error.contains("PAX header") && error.contains("malformed"), "{record:?}: {error}");
    }
    let records = pax_records(&[("path".to_owned(), b"last".to_vec())]);
    let header = Layer::new().header(b'x', b"PaxHeaders/x", b"", records.len() as u64);
    let error = refused(&[Layer::new().file("f", "x").raw(header, &records).finish()]);
    assert!(error.contains("ends in the middle"), "{error}");
}

/// Line 8: a megabyte that would become a gigabyte.
#[test]
fn bombs_are_stopped_at_the_ratio() {
    let limits = || Limits { ratio_from: 8 << 20, max_ratio: 100, ..Limits::default() };
    let tar = Layer::new().file("zeros", vec![0; 64 << 20]).finish();
    for blob in [gzip(&tar), zstd(&tar)] {
        let error = import_with(vec![(blob, tar.clone())], limits()).err().unwrap();
        assert!(error.contains("max_ratio of 100"), "{error}");
    }
    // Beside a limit on the whole layer.
    let limits = Limits { max_layer_bytes: 32 << 20, ..Limits::default() };
    let error = import_with(vec![(tar.clone(), tar)], limits).err().unwrap();
    assert!(error.contains("max_layer_bytes"), "{error}");
}

/// Line 8: a window that would take all memory.
#[test]
fn a_zstd_frame_with_a_giant_window_is_refused() {
    let tar = Layer::new().file("f", "x").finish();
    // Frame header: no single segment, window of 2^41 bytes.
    let mut blob = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xf8];
    blob.extend_from_slice(&[0x01, 0x00, 0x00]);
    let error = import_with(vec![(blob, tar.clone())], Limits::default()).err().unwrap();
    assert!(error.contains("does not decompress"), "{error}");
    // By the limit, which is not only the decoder's own.
    let mut blob = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
    blob.window_log(22).unwrap();
    blob.write_all(&tar).unwrap();
    let layer = vec![(blob.finish().unwrap(), tar)];
    import_with(layer.clone(), Limits::default()).unwrap();
    let error = import_with(layer, Limits { max_zstd_window_log: 21, ..Limits::default() }).err().unwrap();
    assert!(error.contains("does not decompress"), "{error}");
}

/// Line 8: sparse files, in each of the ways there are to write one.
#[test]
fn sparse_files_are_refused() {
    let old = Layer::new().header(b'S', b"sparse", b"", 0);
    assert!(refused(&[Layer::new().raw(old, b"").finish()]).contains("sparse file"));
    let pax =
        Layer::new().pax("GNU.sparse.major", "1").pax("GNU.sparse.realsize", "1099511627776").file("s", "x");
    assert!(refused(&[pax.finish()]).contains("sparse file"));
}

/// Line 10.
#[test]
fn devices_are_there_and_dead_setuid_is_kept_and_labels_of_the_host_are_not() {
    let layer = Layer::new()
        .device(b'3', "dev/mem", 1, 1)
        .device(b'4', "dev/sda", 8, 0)
        .mode(0o4755)
        .xattr("security.capability", [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        .xattr("security.selinux", "system_u:object_r:shadow_t:s0\0")
        .xattr("trusted.overlay.redirect", "/etc/shadow")
        .xattr("trusted.md5sum", "x")
        .xattr("user.overlay.opaque", "y")
        .xattr("user.note", "kept")
        .file("bin/su", "#!")
        .finish();
    let imported = import(&[layer]).unwrap();
    mounted(&imported, |root| {
        let device = fs::symlink_metadata(root.join("dev/mem")).unwrap();
        assert!(device.file_type().is_char_device() && device.rdev() == 0x101);
        let opened = fs::File::open(root.join("dev/mem"));
        assert_eq!(
            opened.unwrap_err().kind(),
            std::io::ErrorKind::PermissionDenied,
            "a device of an image is live"
        );
        assert!(fs::symlink_metadata(root.join("dev/sda")).unwrap().file_type().is_block_device());
        let node = &read_tree(root)["bin/su"];
        assert_eq!(node.mode, 0o4755);
        let names: Vec<&str> = node.xattrs.keys().map(String::as_str).collect();
        assert_eq!(names, ["security.capability", "user.note"]);
    });
}

/// Line 10: a device that no kernel has, a mode that says another type than the entry, attributes where Linux has none.
#[test]
fn what_no_file_system_holds_is_refused_or_left_out() {
    for (major, minor) in [(0x1000, 0), (0, 0x10_0000)] {
        let error = refused(&[Layer::new().device(b'4', "d", major, minor).finish()]);
        assert!(error.contains("device number") && error.contains("not a number in range"), "{error}");
    }
    let layer = Layer::new()
        .mode(0o060_640)
        .file("f", "x")
        .xattr("user.note", "x")
        .symlink("l", "f")
        .xattr("user.note", "x")
        .device(b'3', "null", 1, 3)
        .finish();
    mounted(&import(&[layer]).unwrap(), |root| {
        let tree = read_tree(root);
        assert_eq!((tree["f"].kind, tree["f"].mode), ("file", 0o640));
        assert!(tree["l"].xattrs.is_empty() && tree["null"].xattrs.is_empty());
    });
}

/// Line 14, at the image: an id that no instance has.
#[test]
fn an_owner_outside_of_an_instances_range_names_the_path() {
    let error = refused(&[Layer::new().owner(65_536, 0).file("home/x", "x").finish()]);
    assert!(error.contains("\"home/x\" belongs to uid 65536"), "{error}");
    let error = refused(&[Layer::new().pax("gid", "2147483648").file("home/x", "x").finish()]);
    assert!(error.contains("\"home/x\" belongs to gid 2147483648"), "{error}");
    import(&[Layer::new().owner(65_535, 65_535).file("home/x", "x").finish()]).unwrap();
}

/// Damage of every kind: a header, a cut, a stream that is no tar at all.
#[test]
fn damaged_layers_are_refused() {
    let good = Layer::new().file("a", vec![b'x'; 3000]).file("b", "y").finish();
    let mut flipped = good.clone();
    flipped[0] ^= 1;
    assert!(refused(&[flipped]).contains("checksum is wrong"));
    // In a large body, in a header, in an extended header, in a small body, in what fills the last block.
    let long = Layer::new().file("n".repeat(200), "x").finish();
    let small = Layer::new().file("a", [b'x'; 400]).finish();
    for cut in
        [&good[..2048], &good[..3584 + 100], &long[..512 + 100], &small[..512 + 100], &small[..512 + 410]]
    {
        assert!(refused(&[cut.to_vec()]).contains("ends in the middle"), "{}", cut.len());
    }
    assert!(refused(&[vec![b'x'; 1024]]).contains("checksum is wrong"));
    let error =
        import_with(vec![(gzip(&good)[..40].to_vec(), good.clone())], Limits::default()).err().unwrap();
    assert!(error.contains("does not decompress"), "{error}");
    // Nothing at all is an empty layer, as some tools write it.
    import(&[Vec::new()]).unwrap();
    let kept = Layer::new().entry(b'D', "odd", "", b"").finish();
    assert!(refused(&[kept]).contains("not supported"));
}
