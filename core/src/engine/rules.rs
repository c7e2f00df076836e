//! Rules of the engine that the simulation can leave out one by one (`docs/simulation.md`): it must then find the fault.
//!
//! Without the feature `simulation` every rule holds, by a constant, and nothing of this is left in the program.

macro_rules! rules {
    ($($(#[doc = $text:literal])+ $rule:ident,)+) => {
        /// A rule.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Rule {
            $($(#[doc = $text])+ $rule,)+
        }

        impl Rule {
            /// All rules.
            pub const ALL: &[Self] = &[$(Self::$rule,)+];

            /// What the rule says.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$rule => concat!($($text),+).trim_ascii(),)+
                }
            }
        }
    };
}

rules! {
    /// Each lease has a token of its own.
    TokenIsNew,
    /// A fill compares the token.
    FillCompares,
    /// A release compares the token.
    ReleaseCompares,
    /// An old connection is ended before a new one is used.
    Fence,
    /// A purge that could not be done is pending.
    FailedIsPending,
    /// What a pending purge covers is missing.
    PendingIsMissing,
    /// A refused purge holds up no other.
    DeliveredApart,
    /// Purges are owed to a server that may have forgotten them.
    OwedWhereForgotten,
    /// The same run of a server is owed nothing.
    RunIds,
    /// Purges are recent for one minute.
    RecentForAMinute,
    /// Purges are owed where slots have moved.
    OwedWhereMoved,
    /// A purge does not overtake an older put.
    ReservedForPuts,
    /// Connections of an engine that ended are ended too.
    AbandonedAreEnded,
    /// A thread that ends leaves its purges to others.
    LeftToOthers,
    /// A cache inherits the purges of the one that it replaces.
    Inherited,
    /// A lease whose answer was lost is given out again.
    Orphans,
    /// A read announces its copy.
    Announced,
    /// Copies belong to the link that they were read by.
    CopiesOfTheirLink,
    /// Copies are trusted for two seconds.
    TrustEnds,
    /// Own purges drop copies before they resolve.
    OwnCopiesGo,
    /// Links have a heartbeat.
    Heartbeat,
    /// A silent link is dropped.
    SilentIsDropped,
    /// Attempts to connect pause.
    BackOff,
    /// Another attempt is made beside one that hangs.
    AttemptsBeside,
    /// Broad purges that wait share a pass.
    SharedPasses,
    /// No purge joins a pass that has begun.
    PassBeginsAfter,
    /// Slots that moved are scanned again.
    MovedAreRescanned,
    /// Deadlines are judged after what arrived.
    ReadBeforeDeadline,
    /// Scripts that a server forgot are sent again.
    ScriptsAgain,
    /// Calls of one key keep their order in a batch.
    OrderInBatch,
    /// Calls of one key keep their order across two links.
    OrderAcrossLinks,
    /// An older view of a cluster is not believed.
    OldViews,
}

/// Whether a rule holds: always.
#[cfg(not(feature = "simulation"))]
#[inline]
pub(crate) const fn holds(_: Rule) -> bool {
    true
}

#[cfg(feature = "simulation")]
thread_local! {
    static LEFT_OUT: std::cell::Cell<Option<Rule>> = const { std::cell::Cell::new(None) };
}

/// Whether a rule holds in this thread.
#[cfg(feature = "simulation")]
pub(crate) fn holds(rule: Rule) -> bool {
    LEFT_OUT.get() != Some(rule)
}

/// Leaves a rule out in this thread from now on, and only this one.
#[cfg(feature = "simulation")]
pub fn leave_out(rule: Option<Rule>) {
    LEFT_OUT.set(rule);
}
