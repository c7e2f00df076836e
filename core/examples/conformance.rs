//! Derives keys for a comparison with other implementations: one call per line of JSON in, encoded as `vectors.json`
//! does, with an `id`; one line out with the same `id` and the `key` and `canonical` form, or the `error` and `message`.

#[path = "../tests/decode/mod.rs"]
mod decode;

use serde_json::{Value, json};
use std::io::{self, BufRead, Write};

fn main() -> io::Result<()> {
    // Standard output passes each line on at once: who asks may wait for an answer before the next question.
    let mut output = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let call: Value = serde_json::from_str(&line?)?;
        let answer = match decode::derive(&call) {
            Ok((canonical, key)) => json!({ "id": call["id"], "key": key.as_str(), "canonical": canonical.as_str() }),
            Err(error) => json!({ "id": call["id"], "error": error.code().as_str(), "message": error.message() }),
        };
        writeln!(output, "{answer}")?;
    }
    Ok(())
}
