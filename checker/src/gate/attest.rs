//! What was verified, as an in-toto statement that is ready to be signed (in-toto attestation framework, Statement v1).

use super::Finding;
use super::policy::Policy;
use serde_json::{Value, json};

/// Names the kind of predicate below.
const PREDICATE: &str = "urn:scalecheck:verification:1";

/// Subjects are the policy's models; the predicate says which claims about them were verified, and by which checker. To be
/// written only if nothing failed.
pub fn statement(policy: &Policy, findings: &[Finding]) -> Value {
    let subject = policy.models.iter().map(|model| json!({ "name": model.name, "digest": { "sha256": model.sha256 } }));
    let claim = |finding: &Finding| {
        json!({
            "model": finding.model_digest,
            "original": finding.original_digest,
            "claim": { "name": finding.claim, "digest": { "sha256": finding.claim_digest } },
            "certificate": { "name": finding.certificate, "digest": { "sha256": finding.certificate_digest } },
            "data": finding.data_digests.iter().map(|sha256| json!({ "sha256": sha256 })).collect::<Vec<_>>(),
            "statement": finding.words,
            "certifiedRows": finding.certified,
            "rows": finding.rows,
            "provenTolerance": finding.tolerance.as_ref().map(ToString::to_string),
            "signer": finding.signer,
        })
    };
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subject.collect::<Vec<_>>(),
        "predicateType": PREDICATE,
        "predicate": {
            "verifier": { "id": "scalecheck", "version": env!("CARGO_PKG_VERSION") },
            "policy": policy.name,
            "claims": findings.iter().map(claim).collect::<Vec<_>>(),
        },
    })
}
