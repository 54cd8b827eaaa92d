//! hostile.md, line 9: a million of everything. Each limit has a name that the error tells, and real images stay below.

use berth_image::import::limits::Limits;

use crate::support::{Layer, gzip, import, import_with, mounted};

fn limited(layers: Vec<Vec<u8>>, limits: Limits) -> String {
    let layers = layers.into_iter().map(|tar| (tar.clone(), tar)).collect();
    import_with(layers, limits).err().unwrap()
}

#[test]
fn too_many_entries() {
    let mut layer = Layer::new();
    for number in 0..101 {
        layer = layer.file(format!("f{number}"), "");
    }
    let error = limited(vec![layer.finish()], Limits { max_entries: 100, ..Limits::default() });
    assert!(error.contains("max_entries of 100") && error.contains("f99"), "{error}");
}

#[test]
fn too_many_names_over_all_layers() {
    let layers = (0..11).map(|layer| {
        let files = (0..10).fold(Layer::new(), |tar, number| tar.file(format!("l{layer}/f{number}"), ""));
        files.finish()
    });
    let error = limited(layers.collect(), Limits { max_nodes: 100, ..Limits::default() });
    assert!(error.contains("max_nodes of 100") && error.contains("layer"), "{error}");
}

#[test]
fn too_many_layers() {
    let layers = vec![Layer::new().file("f", "").finish(); 5000];
    let error = limited(layers, Limits::default());
    assert!(error.contains("5000 layers") && error.contains("max_layers of 1024"), "{error}");
}

#[test]
fn many_small_files_are_too_much_together() {
    let layer = (0..9).fold(Layer::new(), |tar, number| tar.file(format!("f{number}"), vec![b'x'; 1 << 20]));
    let layer = layer.finish();
    // Packed, so that the archive that holds it is small.
    let packed = vec![(gzip(&layer), layer)];
    let error = import_with(packed, Limits { max_layer_bytes: 8 << 20, ..Limits::default() }).err().unwrap();
    assert!(error.contains("max_layer_bytes of 8388608"), "{error}");
}

#[test]
fn a_file_that_says_it_is_too_large_is_refused_by_its_header() {
    let layer = Layer::new();
    let header = layer.header(b'0', b"f", b"", 1 << 32);
    let limits = Limits { max_layer_bytes: 8 << 20, ..Limits::default() };
    let error = limited(vec![layer.raw(header, b"").finish()], limits);
    assert!(error.contains("max_layer_bytes of 8388608"), "{error}");
}

#[test]
fn many_layers_are_fine() {
    let layers: Vec<Vec<u8>> = (0..300).map(|n| Layer::new().file("f", n.to_string()).finish()).collect();
    let imported = import(&layers).unwrap();
    mounted(&imported, |root| assert_eq!(std::fs::read_to_string(root.join("f")).unwrap(), "299"));
}

#[test]
fn paths_of_ten_thousand_bytes() {
    let long = vec!["d".repeat(200); 50].join("/");
    let error = limited(vec![Layer::new().file(&long, "x").finish()], Limits::default());
    assert!(error.contains("max_path of 4095"), "{error}");
    let error = limited(vec![Layer::new().symlink("l", &long).finish()], Limits::default());
    assert!(error.contains("max_path of 4095"), "{error}");
    let error = limited(vec![Layer::new().file("n".repeat(256), "x").finish()], Limits::default());
    assert!(error.contains("longer than 255 bytes"), "{error}");
    // Nor is a directory of such a name made where a link leads.
    let layer = Layer::new().symlink("l", "n".repeat(256)).file("l/f", "x").finish();
    let error = limited(vec![layer], Limits::default());
    assert!(error.contains("longer than 255 bytes"), "{error}");
}

#[test]
fn a_thousand_levels_are_written_and_more_are_refused() {
    let deep = |levels: usize| Layer::new().file(vec!["d"; levels].join("/"), "bottom").finish();
    let imported = import(&[deep(1000)]).unwrap();
    let depth = mounted(&imported, |root| {
        let mut path = root.to_owned();
        let mut depth = 0;
        while path.is_dir() {
            path.push("d");
            depth += 1;
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "bottom");
        depth
    });
    assert_eq!(depth, 1000);
    for levels in [1025, 1500] {
        let error = limited(vec![deep(levels)], Limits::default());
        assert!(error.contains("max_depth of 1024"), "{levels}: {error}");
    }
    // Through links, where each path by itself is short.
    let mut layer = Layer::new().dir("0");
    for level in 0..120 {
        layer = layer.dir(format!("{level}/d/d/d/d/d/d/d/d/d/d"));
        layer = layer.symlink((level + 1).to_string(), format!("{level}/d/d/d/d/d/d/d/d/d/d"));
    }
    let error = limited(vec![layer.finish()], Limits::default());
    assert!(error.contains("max_depth") || error.contains("too many symbolic links"), "{error}");
}

#[test]
fn extended_headers_and_attributes_are_bounded() {
    let layer = Layer::new().pax("comment", vec![b'x'; 2 << 20]).file("f", "x").finish();
    assert!(limited(vec![layer], Limits::default()).contains("max_header"));
    let layer = (0..20).fold(Layer::new(), |tar, n| tar.xattr(&format!("user.a{n}"), vec![b'x'; 4000]));
    assert!(limited(vec![layer.file("f", "x").finish()], Limits::default()).contains("max_xattrs"));
    let header = Layer::new().header(b'L', b"././@LongLink", b"", 4 << 30);
    let error = limited(vec![Layer::new().raw(header, b"").finish()], Limits::default());
    assert!(error.contains("max_header"), "{error}");
}
