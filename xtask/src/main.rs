//! Build, quickstart, test, ci, bench, docs, tidy.
fn main() {}
