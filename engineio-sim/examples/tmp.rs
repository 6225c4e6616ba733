fn main() {
    let mut args = std::env::args().skip(1);
    let first: u64 = args.next().unwrap().parse().unwrap();
    let count: u64 = args.next().unwrap().parse().unwrap();
    let sim = engineio_sim::Simulation::new();
    let mut totals = engineio_sim::Totals::default();
    let mut coverage = engineio_sim::Coverage::default();
    let mut laws = std::collections::BTreeMap::<String, (u64, u64, u64)>::new();
    std::panic::set_hook(Box::new(|_| ()));
    let start = std::time::Instant::now();
    for seed in first..first + count {
        match sim.run(seed) {
            Ok(r) => { totals.merge(&r.totals); coverage.merge(&r.coverage); }
            Err(f) => {
                if count == 1 { let f = sim.shrink(f); println!("{f}"); return; }
                let mut what = f.violation.to_string();
                what = what.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }).collect::<String>();
                what.truncate(110);
                let e = laws.entry(what).or_insert((0, seed, u64::MAX));
                e.0 += 1;
                if (f.ops.len() as u64) < e.2 { e.1 = seed; e.2 = f.ops.len() as u64; }
            }
        }
    }
    println!("{:?} {:?}", start.elapsed(), totals);
    if count > 100 { println!("{coverage}"); }
    for (k, v) in laws { println!("{v:?} {k}"); }
}
