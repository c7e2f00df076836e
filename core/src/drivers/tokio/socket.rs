//! One socket: it connects, reads into a buffer of the task's, and writes what is queued.

use std::{
    collections::VecDeque,
    future::Future,
    io::{self, ErrorKind, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::rustls::{self, AlertDescription};

use super::tls::Tls;
use crate::{
    engine::address::{Address, Credentials},
    events::Reason,
};

/// Chunks that are given to the system in one call.
const CHUNKS_AT_ONCE: usize = 16;

/// Asks the program for the credentials of one more connection.
pub type AskForCredentials = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Option<Credentials>> + Send>> + Send + Sync>;

/// What sockets are opened with.
pub(super) struct Connector {
    pub tls: Tls,
    pub credentials: Option<AskForCredentials>,
}

/// What came of polling a socket.
pub(super) enum Input {
    /// It is connected.
    Opened(Option<Credentials>),
    /// So many bytes stand in the buffer.
    Bytes(usize),
    /// It could not be connected, or broke.
    Failed(Reason),
}

/// A socket, connected or about to be.
pub(super) struct Socket {
    state: State,
    outgoing: VecDeque<Bytes>,
    is_flushed: bool,
}

enum State {
    Opening(Pin<Box<dyn Future<Output = Result<Opened, Reason>> + Send>>),
    Open(Box<dyn Stream>),
}

type Opened = (Box<dyn Stream>, Option<Credentials>);

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Socket {
    /// A socket that connects once it is polled.
    pub fn open(connector: Arc<Connector>, address: Address) -> Self {
        let opening = async move {
            let stream = connect(&connector, address).await?;
            let credentials = match &connector.credentials {
                Some(ask) => Some(ask().await.ok_or(Reason::Credentials)?),
                None => None,
            };
            Ok((stream, credentials))
        };
        Self {
            state: State::Opening(Box::pin(opening)),
            outgoing: VecDeque::new(),
            is_flushed: true,
        }
    }

    /// Queues bytes, which [`poll_write`](Self::poll_write) sends.
    pub fn send(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.outgoing.push_back(bytes.into());
        }
    }

    /// Connects, or reads once into the buffer. Not to be polled again once it failed.
    pub fn poll_input(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Input> {
        match &mut self.state {
            State::Opening(opening) => Poll::Ready(match ready!(opening.as_mut().poll(context)) {
                Ok((stream, credentials)) => {
                    self.state = State::Open(stream);
                    Input::Opened(credentials)
                }
                Err(reason) => Input::Failed(reason),
            }),
            State::Open(stream) => {
                let mut buffer = ReadBuf::new(buffer);
                Poll::Ready(match ready!(Pin::new(stream).poll_read(context, &mut buffer)) {
                    Ok(()) if buffer.filled().is_empty() => Input::Failed(Reason::Broken),
                    Ok(()) => Input::Bytes(buffer.filled().len()),
                    Err(error) => Input::Failed(reason_of(&error)),
                })
            }
        }
    }

    /// Writes what is queued, as far as the system takes it. The task is woken when it takes more.
    pub fn poll_write(&mut self, context: &mut Context<'_>) -> Result<(), Reason> {
        let State::Open(stream) = &mut self.state else {
            return Ok(());
        };
        match poll_write(stream, &mut self.outgoing, &mut self.is_flushed, context) {
            Poll::Ready(Err(error)) => Err(reason_of(&error)),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }
}

fn poll_write(
    stream: &mut Box<dyn Stream>,
    outgoing: &mut VecDeque<Bytes>,
    is_flushed: &mut bool,
    context: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    while !outgoing.is_empty() {
        let mut chunks = [IoSlice::new(&[]); CHUNKS_AT_ONCE];
        let count = outgoing.len().min(CHUNKS_AT_ONCE);
        for (chunk, bytes) in chunks.iter_mut().zip(&*outgoing) {
            *chunk = IoSlice::new(bytes);
        }
        *is_flushed = false;
        let mut written = ready!(Pin::new(&mut *stream).poll_write_vectored(context, &chunks[..count]))?;
        if written == 0 {
            return Poll::Ready(Err(ErrorKind::WriteZero.into()));
        }
        while let Some(first) = outgoing.front_mut() {
            if written < first.len() {
                first.advance(written);
                break;
            }
            written -= first.len();
            outgoing.pop_front();
        }
    }
    if !*is_flushed {
        ready!(Pin::new(stream).poll_flush(context))?;
        *is_flushed = true;
    }
    Poll::Ready(Ok(()))
}

async fn connect(connector: &Connector, address: Address) -> Result<Box<dyn Stream>, Reason> {
    match address {
        Address::Tcp { host, port, tls } => {
            let socket = TcpStream::connect((host.as_str(), port))
                .await
                .map_err(|error| reason_of(&error))?;
            socket.set_nodelay(true).map_err(|error| reason_of(&error))?;
            if tls {
                Ok(Box::new(connector.tls.connect(&host, socket).await?))
            } else {
                Ok(Box::new(socket))
            }
        }
        #[cfg(unix)]
        Address::Unix(path) => match tokio::net::UnixStream::connect(path).await {
            Ok(socket) => Ok(Box::new(socket)),
            Err(error) => Err(reason_of(&error)),
        },
        // No socket of that kind can be listened at.
        #[cfg(not(unix))]
        Address::Unix(_) => Err(Reason::Refused),
    }
}

/// Why a connection could not be made, or broke.
pub(super) fn reason_of(error: &io::Error) -> Reason {
    let of_tls = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    if let Some(error) = of_tls {
        return reason_of_tls(error);
    }
    match error.kind() {
        // Of a unix socket, the file is not there.
        ErrorKind::ConnectionRefused | ErrorKind::NotFound => Reason::Refused,
        ErrorKind::PermissionDenied => Reason::Permission,
        ErrorKind::TimedOut => Reason::Timeout,
        _ => Reason::Broken,
    }
}

fn reason_of_tls(error: &rustls::Error) -> Reason {
    use rustls::Error::{AlertReceived, InvalidCertRevocationList, InvalidCertificate, NoCertificatesPresented};
    let is_of_certificate = match error {
        InvalidCertificate(_) | InvalidCertRevocationList(_) | NoCertificatesPresented => true,
        // What a server says that does not take the certificate of the client, or wants one.
        AlertReceived(alert) => matches!(
            alert,
            AlertDescription::NoCertificate
                | AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
                | AlertDescription::AccessDenied
                | AlertDescription::CertificateRequired
                // By TLS 1.2, of a server that wants one.
                | AlertDescription::HandshakeFailure
        ),
        _ => false,
    };
    if is_of_certificate {
        Reason::Certificate
    } else {
        Reason::Protocol
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, duplex};

    use super::*;

    fn of_stream(stream: impl Stream + 'static) -> Socket {
        Socket {
            state: State::Open(Box::new(stream)),
            outgoing: VecDeque::new(),
            is_flushed: true,
        }
    }

    #[tokio::test]
    async fn what_is_queued_is_sent_in_order_through_a_narrow_pipe() {
        let (near, mut far) = duplex(7);
        let mut socket = of_stream(near);
        let mut sent = Vec::new();
        for number in 0..100_u8 {
            let chunk = vec![number; usize::from(number)];
            sent.extend_from_slice(&chunk);
            socket.send(chunk);
        }
        let length = sent.len();
        let received = tokio::spawn(async move {
            let mut received = vec![0; length];
            far.read_exact(&mut received).await.expect("all of it");
            received
        });
        poll_fn(|context| {
            socket.poll_write(context).expect("a pipe");
            if socket.outgoing.is_empty() && socket.is_flushed {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        assert_eq!(received.await.expect("no panic"), sent);
    }

    #[tokio::test]
    async fn a_socket_that_ends_is_broken() {
        let (near, far) = duplex(7);
        let mut socket = of_stream(near);
        drop(far);
        let input = poll_fn(|context| socket.poll_input(context, &mut [0; 8])).await;
        assert!(matches!(input, Input::Failed(Reason::Broken)));
    }

    #[tokio::test]
    async fn a_failure_to_connect_says_why() {
        let connector = Connector {
            tls: Tls::new(&crate::config::TlsConfig::default()).expect("defaults"),
            credentials: None,
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let tcp = |tls| Address::Tcp {
            host: "127.0.0.1".to_owned(),
            port,
            tls,
        };
        // Somebody who does not speak TLS.
        let plain = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.expect("a connection");
            tokio::io::AsyncWriteExt::write_all(&mut socket, b"-ERR unknown command\r\n")
                .await
                .expect("a connection");
            let _ = socket.read_to_end(&mut Vec::new()).await;
        });
        assert_eq!(connect(&connector, tcp(true)).await.err(), Some(Reason::Protocol));
        plain.await.expect("no panic");
        assert_eq!(connect(&connector, tcp(false)).await.err(), Some(Reason::Refused));
        let nowhere = Address::Unix("/nowhere/redis.sock".into());
        assert_eq!(connect(&connector, nowhere).await.err(), Some(Reason::Refused));
    }

    #[test]
    fn errors_of_certificates_are_told_from_others() {
        let of = |error: rustls::Error| reason_of(&io::Error::new(ErrorKind::InvalidData, error));
        let expired = rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
        assert_eq!(of(expired), Reason::Certificate);
        assert_eq!(
            of(rustls::Error::AlertReceived(AlertDescription::CertificateRequired)),
            Reason::Certificate
        );
        assert_eq!(
            of(rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)),
            Reason::Protocol
        );
        assert_eq!(reason_of(&ErrorKind::ConnectionReset.into()), Reason::Broken);
    }
}
