//! TLS of connections: whom a cache trusts, and how it shows who it is.

use std::sync::{Arc, OnceLock};

use tokio::{net::TcpStream, sync::OnceCell, task::spawn_blocking};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    },
};

use super::socket::reason_of;
use crate::{
    config::TlsConfig,
    error::{Error, ErrorCode},
    events::Reason,
};

/// The TLS of one cache.
pub(super) struct Tls {
    authorities: Option<Arc<RootCertStore>>,
    identity: Option<Identity>,
    servername: Option<ServerName<'static>>,
    /// Made for the first connection, because the host's own authorities are many files.
    connector: OnceCell<TlsConnector>,
}

/// What the client shows to servers that ask who it is.
struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Tls {
    /// Checks everything that is configured.
    ///
    /// # Errors
    /// `Option`.
    pub fn new(config: &TlsConfig) -> Result<Self, Error> {
        let authorities = config.ca.as_deref().map(authorities).transpose()?.map(Arc::new);
        let identity = match (&config.cert, &config.key) {
            (Some(cert), Some(key)) => Some(Identity {
                chain: certificates("options.tls.cert", cert)?,
                key: PrivateKeyDer::from_pem_slice(key)
                    .map_err(|_| refuse("options.tls.key", "holds no private key in PEM"))?,
            }),
            (None, None) => None,
            (Some(_), None) => return Err(refuse("options.tls.cert", "needs options.tls.key")),
            (None, Some(_)) => return Err(refuse("options.tls.key", "needs options.tls.cert")),
        };
        let servername = config.servername.clone().map(ServerName::try_from).transpose();
        let tls = Self {
            authorities,
            identity,
            servername: servername.map_err(|_| refuse("options.tls.servername", "is not a name of a server"))?,
            connector: OnceCell::new(),
        };
        // Finds now whether the certificate and its key belong together.
        tls.client_config(Arc::new(RootCertStore::empty()))?;
        Ok(tls)
    }

    /// Makes a connected socket a connection by TLS.
    pub async fn connect(&self, host: &str, socket: TcpStream) -> Result<TlsStream<TcpStream>, Reason> {
        let name = match &self.servername {
            Some(name) => name.clone(),
            None => ServerName::try_from(host.to_owned()).map_err(|_| Reason::Certificate)?,
        };
        let connector = self.connector.get_or_try_init(|| self.connector()).await?;
        connector.connect(name, socket).await.map_err(|error| reason_of(&error))
    }

    async fn connector(&self) -> Result<TlsConnector, Reason> {
        let authorities = match &self.authorities {
            Some(authorities) => Arc::clone(authorities),
            None => spawn_blocking(host_authorities).await.map_err(|_| Reason::Broken)?,
        };
        let config = self.client_config(authorities).map_err(|_| Reason::Certificate)?;
        Ok(TlsConnector::from(Arc::new(config)))
    }

    fn client_config(&self, authorities: Arc<RootCertStore>) -> Result<ClientConfig, Error> {
        // Named, because a program may be built with several.
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|_| Error::new(ErrorCode::Internal, "the versions of TLS suit the provider"))?
            .with_root_certificates(authorities);
        match &self.identity {
            None => Ok(builder.with_no_client_auth()),
            Some(Identity { chain, key }) => builder
                .with_client_auth_cert(chain.clone(), key.clone_key())
                .map_err(|_| refuse("options.tls.key", "is not the key of options.tls.cert")),
        }
    }
}

/// The authorities that the host trusts, read once in a process. Those that cannot be read are left out.
fn host_authorities() -> Arc<RootCertStore> {
    static AUTHORITIES: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let authorities = AUTHORITIES.get_or_init(|| {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(store)
    });
    Arc::clone(authorities)
}

fn authorities(pem: &[u8]) -> Result<RootCertStore, Error> {
    let mut store = RootCertStore::empty();
    for certificate in certificates("options.tls.ca", pem)? {
        store
            .add(certificate)
            .map_err(|_| refuse("options.tls.ca", "holds a certificate that cannot be read"))?;
    }
    Ok(store)
}

fn certificates(path: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(refuse(path, "holds no certificate in PEM")),
    }
}

fn refuse(path: &str, reason: &str) -> Error {
    Error::new(ErrorCode::Option, format!("{path} {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(config: &TlsConfig) -> String {
        Tls::new(config).err().expect("a refusal").message().to_owned()
    }

    #[test]
    fn what_cannot_be_used_is_refused_before_there_is_a_connection() {
        assert!(Tls::new(&TlsConfig::default()).is_ok());
        let text = || Some(b"no certificate".to_vec());
        let config = |change: fn(&mut TlsConfig, Option<Vec<u8>>)| {
            let mut config = TlsConfig::default();
            change(&mut config, text());
            config
        };
        for (config, message) in [
            (
                config(|config, text| config.ca = text),
                "options.tls.ca holds no certificate in PEM",
            ),
            (
                config(|config, text| config.cert = text),
                "options.tls.cert needs options.tls.key",
            ),
            (
                config(|config, text| config.key = text),
                "options.tls.key needs options.tls.cert",
            ),
            (
                config(|config, _| config.servername = Some("no name".to_owned())),
                "options.tls.servername is not a name of a server",
            ),
        ] {
            assert_eq!(refused(&config), message);
        }
    }
}
