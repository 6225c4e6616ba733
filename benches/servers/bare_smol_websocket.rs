//! The limit for WebSockets on smol: async-tungstenite, and of Engine.IO only the open packet. It echoes every frame, in
//! batches: all frames that were read are answered in one write.

mod smol_threads;

use async_tungstenite::{WebSocketStream, accept_async_with_config};
use engineio_benches::{ADDR, MAX_PAYLOAD, Options, announce, open_packet};
use futures_util::{FutureExt as _, SinkExt, StreamExt as _};
use smol::net::{TcpListener, TcpStream};
use smol_threads::EXECUTOR;
use tungstenite::Message;
use tungstenite::protocol::WebSocketConfig;

fn main() -> std::io::Result<()> {
    let options = Options::of_program();
    smol_threads::run(options.workers, async move {
        let listener = TcpListener::bind(ADDR).await?;
        announce(listener.local_addr()?);
        EXECUTOR.spawn(accept(listener, options.read_buffer)).await
    })
}

async fn accept(listener: TcpListener, read_buffer: usize) -> std::io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        // A connection that breaks concerns nobody else.
        EXECUTOR.spawn(async move { serve(stream, read_buffer).await.ok() }).detach();
    }
}

async fn serve(stream: TcpStream, read_buffer: usize) -> tungstenite::Result<()> {
    let config = WebSocketConfig::default()
        .read_buffer_size(read_buffer)
        .max_message_size(Some(MAX_PAYLOAD))
        .max_frame_size(Some(MAX_PAYLOAD));
    let mut socket = accept_async_with_config(stream, Some(config)).await?;
    socket.send(Message::text(open_packet(0))).await?;
    while let Some(message) = socket.next().await {
        echo(&mut socket, message?).await?;
        while let Some(Some(message)) = socket.next().now_or_never() {
            echo(&mut socket, message?).await?;
        }
        SinkExt::flush(&mut socket).await?;
    }
    Ok(())
}

/// Puts the answer into the write buffer.
async fn echo(socket: &mut WebSocketStream<TcpStream>, message: Message) -> tungstenite::Result<()> {
    if message.is_text() || message.is_binary() { socket.feed(message).await } else { Ok(()) }
}
