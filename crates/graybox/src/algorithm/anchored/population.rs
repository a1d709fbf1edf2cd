//! Policies trained side by side, halved by their true losses.
//!
//! Where one context has several good actions, gradient descent ends in the branch it started in, and some
//! branches end in a wall. Policies that start apart and explore at different distances share every call they
//! make; the better half goes on.

use graybox_model::Policy;

use crate::snapshot::Snapshot;
use crate::{SnapshotError, Student};

/// Exploration of the members, relative to the setting.
const SPREAD: [f64; 4] = [0.71, 0.35, 1.41, 2.83];

/// Shares of the budget after which half of the policies go, and all but one after the last.
const CUTS: [f64; 3] = [0.25, 0.5, 0.75];

/// A policy with what is known of it.
pub(super) struct Member<P> {
    pub(super) id: u64,
    /// Share of the budget that was spent when it started.
    pub(super) born: f64,
    pub(super) student: Student<P>,
    /// The policy that it started as, from whose outcomes its targets move to what is wanted; none if it started
    /// where the targets are foretold to be met.
    pub(super) first: Option<P>,
    /// The policy that chose the last calls, the centre of its trust region.
    pub(super) reference: P,
    /// True losses at its own actions, as they were measured.
    losses: Vec<f64>,
}

impl<P: Policy> Member<P> {
    pub(super) fn new(id: u64, born: f64, student: Student<P>) -> Self {
        Self {
            id,
            born,
            first: Some(student.snapshot()),
            reference: student.snapshot(),
            student,
            losses: Vec::new(),
        }
    }

    /// A policy that starts where its targets are foretold to be met.
    pub(super) fn informed(id: u64, born: f64, student: Student<P>) -> Self {
        Self {
            first: None,
            ..Self::new(id, born, student)
        }
    }

    /// Keeps the loss of one call.
    pub(super) fn observe(&mut self, loss: f64) {
        self.losses.push(loss);
    }

    /// Mean of the newest quarter of its losses, infinite before there are any.
    pub(super) fn loss(&self) -> f64 {
        let n = (self.losses.len() / 4).max(8).min(self.losses.len());
        let newest = &self.losses[self.losses.len() - n..];
        if n == 0 {
            return f64::INFINITY;
        }
        newest.iter().sum::<f64>() / n as f64
    }
}

/// A member's number, its beginning, whether its targets move, and its losses, as they are saved.
type Known = (u64, f64, bool, Vec<f64>);

/// The policies still in the race, the best one first.
pub(super) struct Population<P> {
    pub(super) members: Vec<Member<P>>,
    /// Cuts made so far.
    cuts: usize,
    /// Policies there have ever been.
    born: u64,
}

impl<P: Policy> Population<P> {
    pub(super) fn new() -> Self {
        Self {
            members: Vec::new(),
            cuts: 0,
            born: 0,
        }
    }

    /// Exploration of a member, relative to the setting, which is what the last one left explores with.
    pub(super) fn spread(&self, which: usize) -> f64 {
        match self.members.len() {
            1 => 1.0,
            _ => SPREAD[self.members[which].id as usize % SPREAD.len()],
        }
    }

    /// The policy of this number, if it is still there.
    pub(super) fn of(&mut self, id: Option<u64>) -> Option<&mut Member<P>> {
        self.members.iter_mut().find(|member| Some(member.id) == id)
    }

    /// Takes in a policy.
    pub(super) fn add(&mut self, member: Member<P>) {
        self.born = self.born.max(member.id + 1);
        self.members.push(member);
    }

    /// The number of the next policy.
    pub(super) fn next_id(&self) -> u64 {
        self.born
    }

    /// Puts the best first, and lets the worse half go when it is time, of which it tells. The last cut leaves
    /// one.
    pub(super) fn rank(&mut self, progress: f64) -> bool {
        let by_loss = |a: &Member<P>, b: &Member<P>| a.loss().total_cmp(&b.loss());
        self.members.sort_by(by_loss);
        let before = self.cuts;
        while CUTS.get(self.cuts).is_some_and(|due| progress >= *due) {
            self.cuts += 1;
            let left = if self.cuts < CUTS.len() {
                self.members.len().div_ceil(2)
            } else {
                1
            };
            self.members.truncate(left);
        }
        self.cuts > before
    }

    pub(super) fn save(&self, name: &str, snapshot: &mut Snapshot) -> Result<(), SnapshotError> {
        let known = self.members.iter().map(|member| {
            let moves = member.first.is_some();
            (member.id, member.born, moves, member.losses.as_slice())
        });
        let known: Vec<(u64, f64, bool, &[f64])> = known.collect();
        snapshot.put(name, &(self.cuts, self.born, known))?;
        for member in &self.members {
            let name = format!("{name}.{}", member.id);
            member.student.save(&name, snapshot)?;
            if let Some(first) = &member.first {
                snapshot.put_module(&format!("{name}.first"), first)?;
            }
            snapshot.put_module(&format!("{name}.reference"), &member.reference)?;
        }
        Ok(())
    }

    /// `new_student` makes the member of an id as it was before its first step.
    pub(super) fn load(
        name: &str,
        snapshot: &Snapshot,
        new_student: impl Fn(u64) -> Student<P>,
    ) -> Result<Self, SnapshotError> {
        let (cuts, born, known): (usize, u64, Vec<Known>) = snapshot.get(name)?;
        let mut members = Vec::with_capacity(known.len());
        for (id, born, moves, losses) in known {
            let name = format!("{name}.{id}");
            let mut member = Member::new(id, born, new_student(id));
            member.student.load(&name, snapshot)?;
            member.first = match member.first {
                Some(first) if moves => {
                    let name = format!("{name}.first");
                    Some(snapshot.get_module(&name, first)?.valid())
                }
                _ => None,
            };
            let reference = format!("{name}.reference");
            member.reference = snapshot.get_module(&reference, member.reference)?.valid();
            member.losses = losses;
            members.push(member);
        }
        Ok(Self {
            members,
            cuts,
            born,
        })
    }
}
