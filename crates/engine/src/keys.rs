//! Keys: one master key, one derived key per purpose, and signatures of plans.

use aws_lc_rs::{constant_time, hkdf, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use l05_core::plan::{Plan, PlanDocument, PlanSignature, SignedPlan};
use l05_core::{Error, ErrorCode};
use zeroize::Zeroizing;

/// The length of master and derived keys, in bytes.
pub const KEY_BYTES: usize = 32;

/// The root of all keys. Not printable, wiped when dropped.
pub struct MasterKey(Zeroizing<[u8; KEY_BYTES]>);

impl MasterKey {
    /// From bytes that a key file or secret store holds.
    pub fn new(bytes: [u8; KEY_BYTES]) -> MasterKey {
        MasterKey(Zeroizing::new(bytes))
    }

    /// A fresh random key.
    pub fn generate() -> Result<MasterKey, Error> {
        let mut bytes = [0u8; KEY_BYTES];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| {
            Error::new(ErrorCode::SigningKeyUnavailable, "the system gives no random numbers")
        })?;
        Ok(MasterKey::new(bytes))
    }

    /// The bytes, to be written where only the owner reads them.
    pub fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// The HMAC-SHA256 key of one purpose.
    pub(crate) fn hmac_key(&self, purpose: &str) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &*self.derive(purpose))
    }

    /// HKDF-SHA256 (RFC 5869) with the purpose in salt and info, so that no key serves twice.
    fn derive(&self, purpose: &str) -> Zeroizing<[u8; KEY_BYTES]> {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, format!("l05/{purpose}").as_bytes());
        let extracted = salt.extract(&*self.0);
        let info = [b"l05-key-1|", purpose.as_bytes()];
        let mut key = Zeroizing::new([0u8; KEY_BYTES]);
        extracted
            .expand(&info, hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(&mut *key))
            .expect("32 bytes are within what HKDF-SHA256 expands to");
        key
    }
}

/// Signs plans and checks their signatures.
pub struct PlanKeys {
    key_id: String,
    key: hmac::Key,
}

impl PlanKeys {
    /// The plan-signing key of a master key.
    pub fn derive(master: &MasterKey) -> PlanKeys {
        let name = master.derive("key-id");
        let key_id = format!("k1-{}", l05_core::plan::digest_hex(&name[..4]));
        let key = master.hmac_key("plan-signing");
        PlanKeys { key_id, key }
    }

    /// Signs a plan that passed validation.
    #[must_use]
    pub fn sign(&self, plan: Plan) -> Plan {
        let text = plan.signing_text(&self.key_id);
        let tag = hmac::sign(&self.key, text.as_bytes());
        let signature = PlanSignature { key_id: self.key_id.clone(), value: BASE64.encode(tag) };
        plan.signed(signature)
    }

    /// Opens a document that was signed; any change since makes it E5610.
    pub fn open(&self, document: PlanDocument) -> Result<Plan, Error> {
        SignedPlan::new(document)?.open(|text, signature| self.verify(text, signature))
    }

    fn verify(&self, text: &str, signature: &PlanSignature) -> Result<(), Error> {
        if signature.key_id != self.key_id {
            let message =
                format!("the plan is signed with key `{}`, which is not here", signature.key_id);
            return Err(Error::new(ErrorCode::SigningKeyUnavailable, message)
                .detail("key_id", signature.key_id.as_str())
                .suggest("run it where it was planned, or plan the goal again"));
        }
        let expected = hmac::sign(&self.key, text.as_bytes());
        let given = BASE64.decode(&signature.value).unwrap_or_default();
        if constant_time::verify_slices_are_equal(expected.as_ref(), &given).is_err() {
            return Err(Error::new(
                ErrorCode::SignatureInvalid,
                "the plan was changed after it was signed",
            )
            .suggest(
                "plan the goal again; or remove `signature` to have it validated as a new plan",
            ));
        }
        Ok(())
    }
}
