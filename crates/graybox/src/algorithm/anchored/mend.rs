//! A policy without the walls of another.

use graybox_model::{Policy, Surrogate};
use graybox_oracle::Rows;

use super::Anchored;
use super::continuation::Graph;
use super::population::Member;
use crate::{Objective, Probe, bridge, gauss_newton};

/// Gauss–Newton steps that take a neighbour's action to the target.
const REFINING: usize = 8;

impl<P: Policy, S: Surrogate> Anchored<P, S> {
    /// A policy that follows the best one's largest branch into the contexts beyond its walls; none where it has
    /// no wall that could be gone round, or the loss is no squared error.
    pub(super) fn mended(&self, probe: &mut Probe<'_>) -> Option<Member<P>> {
        let objective = self.problem.objective().clone();
        let weights = objective.least_squares()?;
        let (x, target) = self.contexts(probe);
        let leader = &self.population.members[0].student;
        let u = bridge::download(leader.act(x.clone()) / self.action_scale.clone());
        let contexts = self.problem.context().init(self.problem.device());
        let graph = Graph::new(&bridge::download(contexts.forward(x.clone())), &u);
        let mainland = graph.mainland();
        if mainland.iter().all(|known| *known) {
            return None;
        }
        let surrogate = self.surrogate.valid();
        let units = self.problem.actions().affine();
        let scale = units.scale();
        let refine = |wave: &[usize], starts: Rows| {
            let index = bridge::upload_index(wave, self.problem.device());
            let x = x.clone().select(0, index.clone());
            let target = target.clone().select(0, index);
            let mut z = starts;
            for _ in 0..REFINING {
                let u = bridge::upload(&z, self.problem.device()) * self.action_scale.clone();
                let linear = gauss_newton::linearise(&surrogate, &x, &u);
                let residual = bridge::download(linear.y - target.clone());
                let weights: Vec<f64> = weights.iter().map(|w| w / self.baseline).collect();
                let pull = gauss_newton::pull(&linear.jacobian, &residual, &weights, scale);
                let mut next = Rows::with_capacity(z.width(), z.len());
                for (z, pull) in z.iter().zip(pull.iter()) {
                    let times = |row: &[f64], sign: f64| -> Vec<f64> {
                        row.iter()
                            .zip(scale)
                            .map(|(v, scale)| sign * v * scale)
                            .collect()
                    };
                    let u = probe.perturb(&times(z, 1.0), &times(pull, -1.0), 1.0);
                    let z: Vec<f64> = u.iter().zip(scale).map(|(u, scale)| u / scale).collect();
                    next.push(&z).expect("as wide as before");
                }
                z = next;
            }
            z
        };
        let wanted = probe.upload(&graph.continued(mainland, refine)) * self.action_scale.clone();
        let id = self.population.next_id();
        let mut student = self.new_student(id);
        student.set_policy(leader.snapshot());
        self.teach(&mut student, &x, &wanted, probe);
        Some(Member::new(id, probe.progress(), student))
    }
}
