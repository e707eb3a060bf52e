//! What a signature covers, and opening what was signed (spec 04, 4.5).
//!
//! The content digest is SHA-256 over the canonical JSON (RFC 8785) of everything but identity,
//! status, times and the signature itself; the signature is a keyed hash over some 120 bytes that
//! bind the digest to the identity. Keys live in the engine: here are only the bytes.

use std::sync::Arc;

use aws_lc_rs::digest;
use serde::Serialize;

use super::{
    CachedCopy, Plan, PlanDocument, PlanIdentity, PlanSignature, PlanStatus, PlanStructure,
    canonical,
};
use crate::error::{Error, ErrorCode};
use crate::finding::findings_error;
use crate::id::{GoalId, PlanId};
use crate::time::Timestamp;

/// A SHA-256 hash.
pub type Digest = [u8; 32];

/// Fields that the content digest leaves out.
const NOT_COVERED: [&str; 7] =
    ["plan_id", "goal_id", "status", "created_at", "validated_at", "signature", "cached"];

/// The fields that the content digest leaves out, as they are written.
#[derive(Clone, Debug, Serialize)]
pub(super) struct PlanHead {
    pub(super) plan_id: Option<PlanId>,
    pub(super) goal_id: Option<GoalId>,
    pub(super) status: PlanStatus,
    pub(super) created_at: Option<Timestamp>,
    pub(super) validated_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) signature: Option<PlanSignature>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cached: Option<CachedCopy>,
}

impl PlanHead {
    pub(super) fn of(document: &PlanDocument) -> PlanHead {
        PlanHead {
            plan_id: document.plan_id,
            goal_id: document.goal_id.clone(),
            status: document.status,
            created_at: document.created_at,
            validated_at: document.validated_at,
            signature: document.signature.clone(),
            cached: document.cached,
        }
    }

    /// The document with this head.
    pub(super) fn on(&self, mut document: PlanDocument) -> PlanDocument {
        let PlanHead { plan_id, goal_id, status, created_at, validated_at, signature, cached } =
            self.clone();
        (document.plan_id, document.goal_id, document.status) = (plan_id, goal_id, status);
        (document.created_at, document.validated_at) = (created_at, validated_at);
        (document.signature, document.cached) = (signature, cached);
        document
    }

    /// The whole document: this head, and the canonical text of what is covered.
    pub(super) fn written_before(&self, content: &[u8]) -> Vec<u8> {
        let head = serde_json::to_vec(self).expect("a plan is plain data");
        // Stores keep it: made in the right size.
        let mut text = Vec::with_capacity(head.len() + content.len() - 1);
        // Both are objects with members: the brace between them becomes a comma.
        text.extend_from_slice(&head[..head.len() - 1]);
        text.push(b',');
        text.extend_from_slice(&content[1..]);
        text
    }
}

/// The digest of a document's content, and its canonical text.
pub(super) fn content_digest(document: &PlanDocument) -> (Digest, Vec<u8>) {
    let canonical = canonical::to_vec(document, &NOT_COVERED);
    let hash = digest::digest(&digest::SHA256, &canonical);
    (hash.as_ref().try_into().expect("SHA-256 gives 32 bytes"), canonical)
}

/// Lower-case hexadecimal.
pub fn digest_hex(digest: &[u8]) -> String {
    use std::fmt::Write as _;
    digest.iter().fold(String::with_capacity(digest.len() * 2), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

impl Plan {
    /// The bytes to sign with the key called `key_id`.
    pub fn signing_text(&self, key_id: &str) -> String {
        signing_text(&self.identity, &self.content.digest, key_id)
    }

    /// Puts the signature into the document.
    #[must_use]
    pub fn signed(mut self, signature: PlanSignature) -> Plan {
        match &mut self.copy {
            Some(copy) => copy.head.signature = Some(signature),
            None => Arc::make_mut(&mut self.content.document).signature = Some(signature),
        }
        self
    }
}

fn signing_text(identity: &PlanIdentity, digest: &Digest, key_id: &str) -> String {
    format!(
        "l05-plan-1|{key_id}|{}|{}|{}|{}",
        identity.plan_id,
        identity.goal_id.as_str(),
        identity.created_at.0,
        digest_hex(digest)
    )
}

/// A document that claims to have passed validation.
#[derive(Debug)]
pub struct SignedPlan {
    document: PlanDocument,
}

impl SignedPlan {
    /// Takes a document as read; says what it lacks to be one that was signed.
    pub fn new(document: PlanDocument) -> Result<SignedPlan, Error> {
        if document.signature.is_none() {
            return Err(Error::new(ErrorCode::SignatureMissing, "the plan has no signature"));
        }
        let has_identity = document.plan_id.is_some()
            && document.goal_id.is_some()
            && document.created_at.is_some();
        if !has_identity {
            let message = "the plan has a signature but lacks plan_id, goal_id or created_at";
            return Err(Error::new(ErrorCode::SignatureInvalid, message));
        }
        Ok(SignedPlan { document })
    }

    /// Checks the signature with `verify(signing text, signature)` and opens the plan.
    pub fn open(
        self,
        verify: impl FnOnce(&str, &PlanSignature) -> Result<(), Error>,
    ) -> Result<Plan, Error> {
        let document = self.document;
        let (Some(signature), Some(plan_id), Some(goal_id), Some(created_at)) =
            (&document.signature, document.plan_id, document.goal_id.clone(), document.created_at)
        else {
            unreachable!("`new` checked that these are there");
        };
        let identity = PlanIdentity { plan_id, goal_id, created_at };
        let text = signing_text(&identity, &content_digest(&document).0, &signature.key_id);
        verify(&text, signature)?;
        let mut findings = Vec::new();
        match PlanStructure::build(&document, &mut findings) {
            Some(structure) if findings.is_empty() => {
                let mut plan = Plan::assemble(document, structure, identity);
                // It was stored already.
                plan.take_text();
                Ok(plan)
            }
            _ => Err(findings_error(ErrorCode::PlanInvalid, &findings)),
        }
    }
}
