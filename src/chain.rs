//! Certificates that refer to others: from one model to the next, errors add up.

use crate::sweep::relative;
use anyhow::{Context, Result, bail};
use scalecheck::certificate::{Answer, Certificate, LinkText, LinkedFileText, StepText};
use scalecheck::claim::Setting;
use scalecheck::problem::Clean;
use scalecheck::verify::{Statement, digest, read};
use std::path::{Path, PathBuf};

/// A claim with its certificate, as a link.
struct Link {
    name: String,
    statement: Statement,
    /// Row and values of each of its regions.
    rows: Vec<(usize, Clean)>,
}

/// The certificate of a claim that these claims and certificates add up to, in their order; `at` is where it will be.
pub fn compose(statement: &Statement, files: &[[PathBuf; 2]], at: &Path) -> Result<Certificate> {
    let mut certificate = statement.header(concat!("scalecert ", env!("CARGO_PKG_VERSION")));
    let mut links = Vec::new();
    for [claim, bundle] in files {
        let name = claim.display().to_string();
        let link = Statement::load(claim, None)?;
        let rows = link.claim().rows();
        let clean: Vec<Clean> = link.clean(&rows).collect::<Result<_, _>>().with_context(|| name.clone())?;
        links.push(Link { name, statement: link, rows: rows.into_iter().zip(clean).collect() });
        certificate.links.push(LinkText { claim: linked(at, claim)?, certificate: linked(at, bundle)? });
    }
    let rows = statement.claim().rows();
    for (s, setting) in statement.claim().settings.iter().enumerate() {
        for (&row, clean) in rows.iter().zip(statement.clean(&rows)) {
            let clean = clean?;
            let step = |(i, link): (usize, &Link)| link.step(i, setting, i + 1 == links.len(), (row, &clean));
            let chain = links.iter().enumerate().map(step).collect::<Result<Vec<StepText>>>()?;
            certificate.answers.push(Answer { setting: s, row, chain: Some(chain), ..Answer::default() });
        }
    }
    Ok(certificate)
}

impl Link {
    /// The step that this link is for a setting, the last one of it or not, at a region: the row whose region contains that,
    /// of the same number if there are several.
    fn step(&self, link: usize, setting: &Setting, is_last: bool, (row, clean): (usize, &Clean)) -> Result<StepText> {
        let wanted = Setting { perturb: if is_last { setting.perturb.clone() } else { vec![] }, ..setting.clone() };
        let Some(s) = self.statement.claim().settings.iter().position(|own| own.covers(&wanted)) else {
            bail!("{}: it has not the outputs and perturbations of the claim", self.name);
        };
        let contains = |own: &Clean| match (own.region(), clean.region()) {
            (Some(own), Some(region)) => own.contains(region),
            _ => false,
        };
        let mut rows = self.rows.iter().filter(|(_, own)| contains(own)).map(|(r, _)| *r);
        let Some(first) = rows.next() else {
            bail!("{}: no row of it contains the region of row {row}", self.name);
        };
        let own = if first == row || rows.any(|r| r == row) { row } else { first };
        Ok(StepText { link, setting: (s > 0).then_some(s), row: (own != row).then_some(own) })
    }
}

fn linked(at: &Path, file: &Path) -> Result<LinkedFileText> {
    Ok(LinkedFileText { file: relative(at, file)?, sha256: digest(&read(file)?) })
}
