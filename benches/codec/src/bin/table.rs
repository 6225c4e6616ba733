//! Reads allocations from standard input, measures times, and prints the table. The argument is the number of rounds.

use std::io::stdin;

use engineio_codec_table::{Row, rows};
use rustix::time::{ClockId, clock_gettime};

fn main() {
    let rounds = std::env::args().nth(1).map_or(Ok(1001), |rounds| rounds.parse()).expect("a number of rounds");
    let mut allocations = stdin().lines().map(|line| line.expect("a line of allocations"));
    println!("CPU time in ns, medians of {rounds} rounds, and allocations in brackets. The floor is the least work:");
    println!();
    println!(
        "* decode text: scan for 0x1E, check UTF-8, and an exact copy (first) or a slice of the body (second) each;"
    );
    println!("* decode binary: scan for 0x1E, and base64-simd;");
    println!("* encode: one exact allocation, and copies or base64-simd into it;");
    println!("* decode a text frame: check UTF-8, and a slice. Encode it: one exact allocation, and copies.");
    for (title, rows) in ["payload", "text frame"].into_iter().zip(rows()) {
        println!("\n| {title} | floor | engineioxide-core | ours | ours / floor |");
        println!("|---|---|---|---|---|");
        for row in rows {
            print(row, &allocations.next().expect("a line of allocations"), rounds);
        }
    }
}

/// Measures the contestants of a row in turns, and prints it.
fn print(mut row: Row, allocations: &str, rounds: usize) {
    let mut times = vec![Vec::with_capacity(rounds); row.contestants.len()];
    for _ in 0..rounds {
        for (times, contestant) in times.iter_mut().zip(&mut row.contestants) {
            times.push(contestant.run(&cpu_time));
        }
    }
    let medians: Vec<f64> = times.into_iter().map(median).collect();
    let cells: Vec<_> =
        medians.iter().zip(allocations.split(' ')).map(|(time, n)| format!("{time:.0} [{n}]")).collect();
    let [floors @ .., theirs, ours] = &cells[..] else { return };
    let ours_time = medians.last().copied().unwrap_or_default();
    let ratios: Vec<_> = medians.iter().take(floors.len()).map(|floor| format!("{:.2}", ours_time / floor)).collect();
    println!("| {} | {} | {theirs} | {ours} | {} |", row.name, floors.join(", "), ratios.join(", "));
}

/// Returns the CPU time that some work takes on this thread, in nanoseconds.
fn cpu_time(work: &mut dyn FnMut()) -> f64 {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
    };
    let start = now();
    work();
    now() - start
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
