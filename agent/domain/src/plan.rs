//! What is to be done so that an instance is as it was asked for. Pure: no step is taken here.
//!
//! The reconciler observes, plans, takes the steps in order, and observes again until the plan is empty. Every
//! step can be taken twice: an agent that dies between two of them plans again from what it finds.

use crate::state::Workload;

/// What the ledger asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The workload runs, unless it ended by itself for good.
    Running,
    /// Nothing runs; the instance stays.
    Stopped,
    /// Nothing of it stays.
    Absent,
}

/// The ledger's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Desired {
    /// What is wanted.
    pub wanted: Wanted,
    /// Counts everything that was asked for.
    pub generation: u64,
    /// The generation at which the workload was last asked to start anew: by a change that restarts or
    /// rebuilds it, or by a start or restart. A workload of another revision is an old one.
    pub revision: u64,
    /// The ledger holds how the workload of this revision ended by itself for good.
    pub ended: bool,
    /// Which root filesystem it runs on.
    pub rootfs: u32,
}

/// The host's side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// The workload.
    pub workload: Workload,
    /// The generation whose ports, limits and restart policy are in force; `None` where that is not known.
    pub settings: Option<u64>,
    /// Root filesystems of it that are made.
    pub rootfs: Vec<u32>,
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Make this root filesystem ready; nothing that runs is touched.
    PrepareRootfs(u32),
    /// Make sure that the ports asked for can be had, and hold them.
    ClaimPorts,
    /// The network is there.
    EnsureNetwork,
    /// Stop what runs, and wait until it is gone.
    Stop,
    /// Start the workload; limits and restart policy come with it.
    Start,
    /// Limits and restart policy of what runs become those asked for.
    ApplySettings,
    /// The published ports become those asked for.
    PublishPorts,
    /// No port is published and none is held.
    WithdrawPorts,
    /// Write down how the workload ended.
    RecordExit,
    /// Let go of every root filesystem but this one.
    KeepOnlyRootfs(u32),
    /// Let go of all that the host has of it.
    RemoveData,
}

/// The steps from what is observed to what is desired; empty when it is so.
#[must_use]
pub fn plan(desired: &Desired, observed: &Observed) -> Vec<Step> {
    match desired.wanted {
        Wanted::Running => run(desired, observed),
        Wanted::Stopped => stop(desired, observed),
        Wanted::Absent => vanish(observed),
    }
}

fn run(desired: &Desired, observed: &Observed) -> Vec<Step> {
    let current = observed.workload.revision() == Some(desired.revision);
    let mut steps = Vec::new();
    if current && observed.workload.is_live() {
        if observed.settings != Some(desired.generation) {
            steps.extend([Step::ClaimPorts, Step::EnsureNetwork, Step::ApplySettings, Step::PublishPorts]);
        }
    } else if current || desired.ended {
        // It ended by itself for good; what is left is to say so and to let its ports go.
        if observed.workload.is_live() {
            steps.push(Step::Stop);
        }
        if current && !desired.ended {
            // In this order, so that ports which could not be let go are let go at the next try.
            steps.extend([Step::WithdrawPorts, Step::RecordExit]);
        } else if observed.settings != Some(desired.generation) {
            steps.push(Step::WithdrawPorts);
        }
    } else {
        steps.extend([Step::PrepareRootfs(desired.rootfs), Step::ClaimPorts]);
        if observed.workload.is_live() {
            steps.push(Step::Stop);
        }
        steps.extend([Step::EnsureNetwork, Step::Start, Step::PublishPorts]);
        // The old root filesystem goes only in the plan after this one, when the new workload was seen to run.
        return steps;
    }
    steps.extend(keep_only(desired, observed));
    steps
}

fn stop(desired: &Desired, observed: &Observed) -> Vec<Step> {
    let mut steps = Vec::new();
    if observed.workload.is_live() {
        steps.push(Step::Stop);
    }
    if observed.settings != Some(desired.generation) || !steps.is_empty() {
        steps.push(Step::WithdrawPorts);
    }
    if !observed.rootfs.contains(&desired.rootfs) {
        steps.push(Step::PrepareRootfs(desired.rootfs));
        return steps;
    }
    steps.extend(keep_only(desired, observed));
    steps
}

fn vanish(observed: &Observed) -> Vec<Step> {
    let mut steps = Vec::new();
    if observed.workload.is_live() {
        steps.push(Step::Stop);
    }
    steps.extend([Step::WithdrawPorts, Step::RemoveData]);
    steps
}

fn keep_only(desired: &Desired, observed: &Observed) -> Option<Step> {
    observed.rootfs.iter().any(|n| *n != desired.rootfs).then_some(Step::KeepOnlyRootfs(desired.rootfs))
}
