//! A small chat in the browser. Run `cargo run --release -p engineio-smol --example chat`, then open the printed
//! address in two windows. The example shows how to mount the server in an application that uses hyper.
#![allow(missing_docs)]

use bytes::Bytes;
use clap::Parser;
use engineio_smol::Server;
use engineio_smol::mount::{RemoteAddr, ReplyBody};
use engineio_smol::net::FuturesIo;
use engineio_suites::programs::visitors::{PAGE, Visitor};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use smol::net::{TcpListener, TcpStream};

#[derive(Debug, Parser)]
#[command(about = "A chat in the browser, on 127.0.0.1")]
struct Args {
    /// The port; 0 for any free port.
    #[arg(long, default_value_t = 3000)]
    port: u16,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse();
    smol::block_on(async {
        let server = engineio_smol::builder().build()?;
        let listener = TcpListener::bind(("127.0.0.1", args.port)).await?;
        println!("listening on http://{}", listener.local_addr()?);
        let visitors = server.clone();
        smol::spawn(async move { visitors.run(|_socket| Visitor::join(&visitors)).await }).detach();
        loop {
            let (stream, _) = listener.accept().await?;
            smol::spawn(serve(server.clone(), stream)).detach();
        }
    })
}

/// Serves one connection: the server's requests, and the page.
async fn serve(server: Server, stream: TcpStream) {
    let addr = stream.peer_addr().map_err(|error| error.kind());
    let engine = server.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        if let Ok(addr) = addr {
            request.extensions_mut().insert(RemoteAddr(addr));
        }
        let server = engine.clone();
        async move { if server.matches(&request) { server.handle(request).await } else { Ok(page(&request)) } }
    });
    server.serve_connection(FuturesIo::new(stream), service).await;
}

/// Returns the answer to a request that is not for the server.
fn page(request: &Request<Incoming>) -> Response<ReplyBody> {
    let found = request.uri().path() == "/";
    let mut response =
        Response::new(ReplyBody::from(Bytes::from_static(if found { PAGE } else { "not found\n" }.as_bytes())));
    if found {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    } else {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    response
}
