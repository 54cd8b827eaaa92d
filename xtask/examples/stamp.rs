//! What the benches start: it says when it was executed, in nanoseconds of the clock that all of the host have, and ends.
//! `stamp stay` stays.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

fn main() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Whoever reads it misses it.
    let _unread = writeln!(std::io::stdout(), "{}", now.as_nanos());
    while std::env::args().nth(1).is_some_and(|word| word == "stay") {
        std::thread::park();
    }
}
