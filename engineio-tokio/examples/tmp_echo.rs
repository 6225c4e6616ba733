//! temporary
use std::time::Instant;
fn cpu() -> f64 {
    let s = std::fs::read_to_string("/proc/self/stat").unwrap();
    let f: Vec<&str> = s.rsplit(')').next().unwrap().split_whitespace().collect();
    (f[11].parse::<f64>().unwrap() + f[12].parse::<f64>().unwrap()) / 100.0
}
#[tokio::main(flavor = "current_thread")]
async fn main() {
    let server = engineio_tokio::builder().build().unwrap();
    let addr = engineio_tokio::bind(&server, "127.0.0.1:0").await.unwrap();
    tokio::spawn(async move {
        loop {
            let mut socket = server.accept().await;
            tokio::spawn(async move {
                while let Some(m) = socket.recv().await {
                    if socket.send(m).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    let client = engineio_tokio::client(&format!("http://{addr}"))
        .unwrap()
        .transports([engineio_tokio::TransportKind::WebSocket])
        .build()
        .unwrap();
    let mut socket = client.connect().await.unwrap();
    for (size, rounds) in [(64, 30_000), (1000, 15_000), (100_000, 300)] {
        let data = "x".repeat(size);
        let (t, c) = (Instant::now(), cpu());
        for _ in 0..rounds {
            for _ in 0..16.min(1 + 500_000 / size) {
                socket.send(data.clone()).await.unwrap();
            }
            for _ in 0..16.min(1 + 500_000 / size) {
                socket.recv().await.unwrap();
            }
        }
        let n = (rounds * 16.min(1 + 500_000 / size)) as f64;
        println!("{size} B: {:.3} us wall, {:.3} us cpu", t.elapsed().as_secs_f64() * 1e6 / n, (cpu() - c) * 1e6 / n);
    }
}
