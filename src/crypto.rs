//! Cryptography of the process: ring, for TLS (`rustls`) and for JSON Web Tokens (`jsonwebtoken`).
//!
//! Both libraries ask the process for a provider. `jsonwebtoken` brings one for AWS-LC and one in pure Rust; AWS-LC adds
//! 1.2 MB to the program and minutes to its build, and the other takes twice as long for a signature. What stands here
//! chooses ring's function for an algorithm; there is no cryptography in it.

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::jwk::{EllipticCurve, ThumbprintHash};
use jsonwebtoken::signature::{self, Signer, Verifier};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED,
    ECDSA_P384_SHA384_FIXED_SIGNING, ED25519, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RSA_PSS_SHA256,
    RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey, VerificationAlgorithm,
};
use ring::{digest, hmac};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| Ok(Box::new(Signing::new(*algorithm, key)?)),
    verifier_factory: |algorithm, key| Ok(Box::new(Verifying::new(*algorithm, key)?)),
    key_utils: KeyUtils {
        rsa_pub_components_from_private_key: rsa_public_key,
        // For the JWK of a public key in DER, which nothing here asks for.
        rsa_pub_components_from_public_key: |_| Err(ErrorKind::InvalidKeyFormat.into()),
        ec_pub_components_from_private_key: ec_public_key,
        ed_pub_components_from_private_key: |key, _| Ok(ed_pair(key)?.public_key().as_ref().into()),
        compute_digest: digest_of,
    },
};

/// Installs the providers, once for the process. Whoever uses either library calls this first: afterwards it is too late,
/// since `jsonwebtoken` keeps for good what it finds at its first use.
pub fn install() {
    // An error says that one is installed already.
    let _ = PROVIDER.install_default();
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// What verifies signatures of one algorithm with one key.
struct Verifying {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl Verifying {
    fn new(algorithm: Algorithm, key: &DecodingKey) -> Result<Self, Error> {
        // A public key that is taken for an HMAC secret would let everybody sign.
        if key.family() == algorithm.family() {
            let key = key.clone();
            Ok(Self { algorithm, key })
        } else {
            Err(ErrorKind::InvalidKeyFormat.into())
        }
    }

    fn is_valid(&self, message: &[u8], signature: &[u8]) -> bool {
        let done = match (public_key_algorithm(self.algorithm), self.key.kind()) {
            (None, DecodingKeyKind::SecretOrDer(secret)) => {
                let key = hmac::Key::new(hmac_algorithm(self.algorithm), secret);
                hmac::verify(&key, message, signature)
            }
            (Some(Public::Rsa(parameters)), DecodingKeyKind::RsaModulusExponent { n, e }) => {
                RsaPublicKeyComponents { n, e }.verify(parameters, message, signature)
            }
            (Some(Public::Rsa(parameters)), DecodingKeyKind::SecretOrDer(der)) => {
                UnparsedPublicKey::new(parameters, der).verify(message, signature)
            }
            (Some(Public::Curve(curve)), DecodingKeyKind::SecretOrDer(point)) => {
                UnparsedPublicKey::new(curve, point).verify(message, signature)
            }
            (None | Some(Public::Curve(_)), DecodingKeyKind::RsaModulusExponent { .. }) => {
                Err(ring::error::Unspecified)
            }
        };
        done.is_ok()
    }
}

impl Verifier<Vec<u8>> for Verifying {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        if self.is_valid(message, signature) {
            Ok(())
        } else {
            Err(signature::Error::new())
        }
    }
}

impl JwtVerifier for Verifying {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

enum Public {
    Rsa(&'static RsaParameters),
    Curve(&'static dyn VerificationAlgorithm),
}

/// `None`: it has a secret instead.
fn public_key_algorithm(algorithm: Algorithm) -> Option<Public> {
    Some(match algorithm {
        Algorithm::RS256 => Public::Rsa(&RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => Public::Rsa(&RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => Public::Rsa(&RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => Public::Rsa(&RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => Public::Rsa(&RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => Public::Rsa(&RSA_PSS_2048_8192_SHA512),
        Algorithm::ES256 => Public::Curve(&ECDSA_P256_SHA256_FIXED),
        Algorithm::ES384 => Public::Curve(&ECDSA_P384_SHA384_FIXED),
        Algorithm::EdDSA => Public::Curve(&ED25519),
        _ => return None,
    })
}

fn hmac_algorithm(algorithm: Algorithm) -> hmac::Algorithm {
    match algorithm {
        Algorithm::HS256 => hmac::HMAC_SHA256,
        Algorithm::HS384 => hmac::HMAC_SHA384,
        _ => hmac::HMAC_SHA512,
    }
}

/// What signs with one algorithm and one key.
struct Signing {
    algorithm: Algorithm,
    key: Private,
}

enum Private {
    Hmac(hmac::Key),
    Rsa(Box<RsaKeyPair>, &'static dyn RsaEncoding),
    Ecdsa(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl Signing {
    fn new(algorithm: Algorithm, key: &EncodingKey) -> Result<Self, Error> {
        if key.family() != algorithm.family() {
            return Err(ErrorKind::InvalidKeyFormat.into());
        }
        let bytes = key.as_bytes();
        let key = match algorithm.family() {
            AlgorithmFamily::Hmac => {
                Private::Hmac(hmac::Key::new(hmac_algorithm(algorithm), bytes))
            }
            AlgorithmFamily::Rsa => Private::Rsa(Box::new(rsa_pair(bytes)?), encoding(algorithm)),
            AlgorithmFamily::Ec => Private::Ecdsa(ec_pair(bytes, algorithm)?.0),
            AlgorithmFamily::Ed => Private::Ed(ed_pair(bytes)?),
        };
        Ok(Self { algorithm, key })
    }
}

impl Signer<Vec<u8>> for Signing {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        let random = SystemRandom::new();
        match &self.key {
            Private::Hmac(key) => Ok(hmac::sign(key, message).as_ref().to_vec()),
            Private::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(*encoding, &random, message, &mut signature)
                    .map(|()| signature)
            }
            Private::Ecdsa(pair) => pair
                .sign(&random, message)
                .map(|signature| signature.as_ref().to_vec()),
            Private::Ed(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
        .map_err(|_| signature::Error::new())
    }
}

impl JwtSigner for Signing {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

fn encoding(algorithm: Algorithm) -> &'static dyn RsaEncoding {
    match algorithm {
        Algorithm::RS256 => &RSA_PKCS1_SHA256,
        Algorithm::RS384 => &RSA_PKCS1_SHA384,
        Algorithm::RS512 => &RSA_PKCS1_SHA512,
        Algorithm::PS256 => &RSA_PSS_SHA256,
        Algorithm::PS384 => &RSA_PSS_SHA384,
        _ => &RSA_PSS_SHA512,
    }
}

fn rsa_pair(pkcs1: &[u8]) -> Result<RsaKeyPair, Error> {
    RsaKeyPair::from_der(pkcs1).map_err(|why| ErrorKind::InvalidRsaKey(why.to_string()).into())
}

fn ec_pair(pkcs8: &[u8], algorithm: Algorithm) -> Result<(EcdsaKeyPair, EllipticCurve), Error> {
    let (signing, curve): (&'static EcdsaSigningAlgorithm, _) = match algorithm {
        Algorithm::ES256 => (&ECDSA_P256_SHA256_FIXED_SIGNING, EllipticCurve::P256),
        Algorithm::ES384 => (&ECDSA_P384_SHA384_FIXED_SIGNING, EllipticCurve::P384),
        _ => return Err(ErrorKind::InvalidEcdsaKey.into()),
    };
    let pair = EcdsaKeyPair::from_pkcs8(signing, pkcs8, &SystemRandom::new());
    Ok((pair.map_err(|_| ErrorKind::InvalidEcdsaKey)?, curve))
}

fn ed_pair(pkcs8: &[u8]) -> Result<Ed25519KeyPair, Error> {
    // Keys are written with and without their public half.
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8).map_err(|_| ErrorKind::InvalidEddsaKey.into())
}

fn rsa_public_key(pkcs1: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let RsaPublicKeyComponents { n, e } =
        RsaPublicKeyComponents::<Vec<u8>>::from(rsa_pair(pkcs1)?.public());
    Ok((n, e))
}

fn ec_public_key(
    pkcs8: &[u8],
    algorithm: Algorithm,
) -> Result<(EllipticCurve, Vec<u8>, Vec<u8>), Error> {
    let (pair, curve) = ec_pair(pkcs8, algorithm)?;
    // An uncompressed point: 4, x, y (SEC 1, 2.3.3).
    let coordinates = &pair.public_key().as_ref()[1..];
    let (x, y) = coordinates.split_at(coordinates.len() / 2);
    Ok((curve, x.to_vec(), y.to_vec()))
}

#[expect(clippy::needless_pass_by_value, reason = "the type is the library's")]
fn digest_of(data: &[u8], hash: ThumbprintHash) -> Result<Vec<u8>, Error> {
    let algorithm = match hash {
        ThumbprintHash::SHA256 => &digest::SHA256,
        ThumbprintHash::SHA384 => &digest::SHA384,
        ThumbprintHash::SHA512 => &digest::SHA512,
        _ => return Err(ErrorKind::InvalidAlgorithm.into()),
    };
    Ok(digest::digest(algorithm, data).as_ref().to_vec())
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::crypto;
    use rcgen::SigningKey as _;

    use super::*;

    const PAYLOAD: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

    fn verifies(key: &DecodingKey, algorithm: Algorithm, message: &str, signature: &str) -> bool {
        install();
        crypto::verify(signature, message.as_bytes(), key, algorithm).unwrap()
    }

    #[track_caller]
    fn is_valid(key: &DecodingKey, algorithm: Algorithm, message: &str, signature: &str) {
        assert!(
            verifies(key, algorithm, message, signature),
            "{algorithm:?}"
        );
        let other = format!("{message}A");
        assert!(
            !verifies(key, algorithm, &other, signature),
            "{algorithm:?}"
        );
        for wrong in [
            "",
            "AAAA",
            &signature[4..],
            &signature.replace(&signature[..4], "AAAA"),
        ] {
            assert!(
                !verifies(key, algorithm, message, wrong),
                "{algorithm:?} {wrong}"
            );
        }
    }

    #[test]
    fn the_published_examples_verify() {
        // RFC 7515, appendix A.1.
        let secret = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
        let key =
            DecodingKey::from_base64_secret(&(secret.replace('-', "+").replace('_', "/") + "=="));
        let message = format!("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{PAYLOAD}");
        let signature = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        is_valid(&key.unwrap(), Algorithm::HS256, &message, signature);
        // RFC 7515, appendix A.3.
        let key = DecodingKey::from_ec_components(
            "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        );
        let message = format!("eyJhbGciOiJFUzI1NiJ9.{PAYLOAD}");
        let signature = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
        is_valid(&key.unwrap(), Algorithm::ES256, &message, signature);
        // RFC 8037, appendix A.4.
        let key = DecodingKey::from_ed_components("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        let message = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        is_valid(&key.unwrap(), Algorithm::EdDSA, message, signature);
    }

    /// Each algorithm with a key pair of its own, made and first signed with by another library.
    #[test]
    fn every_algorithm_verifies_what_it_signed_and_nothing_else() {
        install();
        let mut keys = Vec::new();
        for (algorithm, made_by) in [
            (Algorithm::RS256, &rcgen::PKCS_RSA_SHA256),
            (Algorithm::RS384, &rcgen::PKCS_RSA_SHA384),
            (Algorithm::RS512, &rcgen::PKCS_RSA_SHA512),
            (Algorithm::PS256, &rcgen::PKCS_RSA_SHA256),
            (Algorithm::PS384, &rcgen::PKCS_RSA_SHA384),
            (Algorithm::PS512, &rcgen::PKCS_RSA_SHA512),
            (Algorithm::ES256, &rcgen::PKCS_ECDSA_P256_SHA256),
            (Algorithm::ES384, &rcgen::PKCS_ECDSA_P384_SHA384),
            (Algorithm::EdDSA, &rcgen::PKCS_ED25519),
        ] {
            let pair = rcgen::KeyPair::generate_for(made_by).unwrap();
            let (pem, public) = (pair.serialize_pem(), pair.public_key_pem());
            let (pem, public) = (pem.as_bytes(), public.as_bytes());
            let (key, public) = match algorithm.family() {
                AlgorithmFamily::Rsa => (
                    EncodingKey::from_rsa_pem(pem),
                    DecodingKey::from_rsa_pem(public),
                ),
                AlgorithmFamily::Ec => (
                    EncodingKey::from_ec_pem(pem),
                    DecodingKey::from_ec_pem(public),
                ),
                AlgorithmFamily::Ed => (
                    EncodingKey::from_ed_pem(pem),
                    DecodingKey::from_ed_pem(public),
                ),
                AlgorithmFamily::Hmac => unreachable!(),
            };
            if matches!(
                algorithm,
                Algorithm::RS256 | Algorithm::RS384 | Algorithm::RS512
            ) {
                let signature = pair.sign(b"message").unwrap();
                let verifier = Verifying::new(algorithm, public.as_ref().unwrap()).unwrap();
                assert!(verifier.is_valid(b"message", &signature), "{algorithm:?}");
            }
            keys.push((algorithm, key.unwrap(), public.unwrap()));
        }
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let secret = format!("{algorithm:?}");
            let secret = secret.as_bytes();
            let (key, public) = (
                EncodingKey::from_secret(secret),
                DecodingKey::from_secret(secret),
            );
            keys.push((algorithm, key, public));
        }
        for (algorithm, key, public) in &keys {
            let signature = crypto::sign(b"message", key, *algorithm).unwrap();
            is_valid(public, *algorithm, "message", &signature);
            for (other, _, _) in &keys {
                let verdict = crypto::verify(&signature, b"message", public, *other);
                let accepted = verdict.is_ok_and(|valid| valid);
                assert_eq!(accepted, other == algorithm, "{algorithm:?} as {other:?}");
            }
        }
    }

    #[test]
    fn a_key_serves_its_own_family_only() {
        let secret = DecodingKey::from_secret(b"secret");
        let rsa = DecodingKey::from_rsa_raw_components(&[1; 256], &[1, 0, 1]);
        for algorithm in [
            Algorithm::RS256,
            Algorithm::PS256,
            Algorithm::ES256,
            Algorithm::EdDSA,
        ] {
            assert!(Verifying::new(algorithm, &secret).is_err(), "{algorithm:?}");
            let key = EncodingKey::from_secret(b"secret");
            assert!(Signing::new(algorithm, &key).is_err(), "{algorithm:?}");
        }
        for algorithm in [Algorithm::HS256, Algorithm::ES256, Algorithm::EdDSA] {
            assert!(Verifying::new(algorithm, &rsa).is_err(), "{algorithm:?}");
        }
    }
}
