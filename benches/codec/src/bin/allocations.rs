//! Prints the allocations of every contestant: one row a line.

use engineio_codec_table::rows;

fn main() {
    for row in rows().into_iter().flatten() {
        let count = |work: &mut dyn FnMut()| allocation_counter::measure(work).count_total as f64;
        let counts = row.contestants.into_iter().map(|mut contestant| contestant.run(&count).to_string());
        println!("{}", counts.collect::<Vec<_>>().join(" "));
    }
}
