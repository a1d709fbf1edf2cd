//! Where policies start.

use burn::prelude::*;
use graybox_model::{Policy, Surrogate};
use graybox_oracle::Rows;
use rand_distr::{Distribution, StandardNormal};

use super::population::Member;
use super::{Anchored, random_rows};
use crate::{LearningRate, Probe, Student, seed};

/// Steps that make a policy constant.
const SETTLING: usize = 200;
/// What is left of the learning rates when the rounds end.
pub(super) const FLOOR: f64 = 0.1;

impl<P: Policy, S: Surrogate> Anchored<P, S> {
    /// The student's policy is the first member. Constant policies start at an action of their own each.
    pub(super) fn enlist(&mut self, student: &Student<P>, probe: &mut Probe<'_>) {
        self.learning_rate = LearningRate {
            floor: FLOOR,
            ..student.learning_rate()
        };
        for id in 0..self.config.population as u64 {
            let mut member = self.new_student(id);
            if id == 0 {
                member.replace(student.snapshot());
            }
            if (id as usize) < self.config.constant {
                self.settle(id, &mut member, probe);
            }
            self.population.members.push(Member::new(id, member));
        }
    }

    /// The action that a member starts at, whatever the context, `[1, d_u]`.
    fn start(&self, id: u64, probe: &Probe<'_>) -> Tensor<2> {
        let mut rng = seed::stream(self.problem.seed(), "start", id);
        let center = self.problem.actions().affine().shift().to_vec();
        let noise = StandardNormal.sample_iter(&mut rng);
        let noise: Vec<f64> = noise.take(center.len()).collect();
        let start = probe.perturb(&center, &noise, self.config.start);
        probe.upload(&Rows::from_vec(start.len(), start).expect("one row"))
    }

    /// Makes a policy answer its first action everywhere.
    fn settle(&self, id: u64, student: &mut Student<P>, probe: &mut Probe<'_>) {
        let start = self.start(id, probe);
        let data = self.problem.data();
        for step in 0..SETTLING {
            let index = random_rows(probe, self.config.policy_batch, data.host().len());
            let x = data.x().clone().select(0, probe.upload_index(&index));
            let u = student.policy().forward(x);
            let away = (u - start.clone()) / self.action_scale.clone();
            let progress = step as f64 / SETTLING as f64;
            student.step(away.square().mean(), progress);
        }
        student.replace(student.snapshot());
    }

    pub(super) fn new_student(&self, id: u64) -> Student<P> {
        let policy = (self.new_policy)(&mut seed::stream(self.problem.seed(), "policy", id));
        Student::with_optimizer(policy, self.config.optimizer.init(), self.learning_rate)
    }
}
