//! What is counted about Kafka, in plain integers; `metrics.rs` reads it at a scrape.
//!
//! Errors are counted by [`Reason`], a closed list that every series is registered from: no text of a
//! broker or of librdkafka becomes a label.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use rdkafka::types::RDKafkaErrorCode as Code;

use crate::entry::Timestamp;

/// Shared by the publisher and whoever renders metrics; outlives both.
#[derive(Default, Debug)]
pub struct KafkaMeter {
    errors: [AtomicU64; Reason::ALL.len()],
    last_delivery: AtomicI64,
    brokers_up: AtomicU64,
    rebuilds: AtomicU64,
}

impl KafkaMeter {
    /// Errors so far, for every reason, in the order of [`Reason::ALL`].
    pub fn errors(&self) -> impl Iterator<Item = (Reason, u64)> + '_ {
        Reason::ALL.into_iter().zip(self.errors.iter().map(|n| n.load(Relaxed)))
    }

    /// When Kafka last acknowledged a record; `None` before the first.
    pub fn last_delivery(&self) -> Option<Timestamp> {
        match self.last_delivery.load(Relaxed) {
            0 => None,
            at => Some(Timestamp(at)),
        }
    }

    /// Brokers with an established connection, as of at most five seconds ago.
    pub fn brokers_up(&self) -> u64 {
        self.brokers_up.load(Relaxed)
    }

    /// How often a producer was replaced.
    pub fn producer_rebuilds(&self) -> u64 {
        self.rebuilds.load(Relaxed)
    }

    pub(super) fn count(&self, reason: Reason) {
        self.errors[reason as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn delivered(&self, at: Timestamp) {
        self.last_delivery.store(at.0, Relaxed);
    }

    pub(super) fn set_brokers_up(&self, brokers: u64) {
        self.brokers_up.store(brokers, Relaxed);
    }

    pub(super) fn rebuilt(&self) {
        self.rebuilds.fetch_add(1, Relaxed);
    }
}

macro_rules! reasons {
    ($($name:ident = $label:literal: $($code:ident)|*;)*) => {
        /// Why Kafka did not take something; the label of `certsieve_kafka_errors_total`.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Reason { $($name,)* Other }

        impl Reason {
            pub const ALL: [Reason; [$($label,)* "other"].len()] = [$(Reason::$name,)* Reason::Other];

            pub fn label(self) -> &'static str {
                match self { $(Reason::$name => $label,)* Reason::Other => "other" }
            }

            /// The reason behind librdkafka's code.
            pub(super) fn of(code: Code) -> Reason {
                match code { $($(Code::$code)|* => Reason::$name,)* _ => Reason::Other }
            }
        }
    };
}

reasons! {
    Transport = "transport": BrokerTransportFailure | NetworkException | BrokerNotAvailable | DestroyBroker;
    AllBrokersDown = "all_brokers_down": AllBrokersDown;
    Authentication = "authentication": Authentication | SaslAuthenticationFailed | UnsupportedSASLMechanism
        | IllegalSASLState;
    Ssl = "ssl": SSL;
    Resolve = "resolve": Resolve;
    Timeout = "timeout": OperationTimedOut | MessageTimedOut | TimedOutQueue | RequestTimedOut;
    UnknownTopic = "unknown_topic": UnknownTopic | UnknownTopicOrPartition | UnknownPartition | InvalidTopic;
    TopicAuthorization = "topic_authorization": TopicAuthorizationFailed;
    ClusterAuthorization = "cluster_authorization": ClusterAuthorizationFailed;
    NotEnoughReplicas = "not_enough_replicas": NotEnoughReplicas | NotEnoughReplicasAfterAppend
        | ISRInsufficient;
    NotLeader = "not_leader": NotLeaderForPartition | LeaderNotAvailable | ReplicaNotAvailable
        | FencedLeaderEpoch | UnknownLeaderEpoch;
    TooLarge = "too_large": MessageSizeTooLarge | MessageBatchTooLarge;
    Invalid = "invalid_record": InvalidMessage | InvalidMessageSize | InvalidRecord | InvalidTimestamp
        | BadMessage | UnsupportedForMessageFormat | UnsupportedCompressionType;
    ProducerId = "producer_id": UnknownProducerId | OutOfOrderSequenceNumber | DuplicateSequenceNumber
        | InvalidProducerEpoch | InvalidProducerIdMapping | ProducerFenced | Fenced;
    Fatal = "fatal": Fatal;
    Purged = "purged": PurgeQueue | PurgeInflight | BrokerDestroy;
    QueueFull = "queue_full": QueueFull;
    Policy = "policy": PolicyViolation;
    Throttled = "throttled": ThrottlingQuotaExceeded;
    Storage = "storage": KafkaStorageError;
    Unsupported = "unsupported": UnsupportedVersion | UnsupportedFeature | NotImplemented;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_label_and_counter() {
        // telemetry.md: kafka_errors_total has at most 24 reasons.
        assert!(Reason::ALL.len() <= 24, "{}", Reason::ALL.len());
        let meter = KafkaMeter::default();
        for (i, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, i);
            for _ in 0..=i {
                meter.count(reason);
            }
        }
        let seen: Vec<_> = meter.errors().map(|(r, n)| (r.label(), n)).collect();
        let labels: std::collections::BTreeSet<_> = seen.iter().map(|(label, _)| label).collect();
        assert_eq!(labels.len(), Reason::ALL.len());
        assert_eq!(seen[0], ("transport", 1));
        assert_eq!(*seen.last().unwrap(), ("other", Reason::ALL.len() as u64));
    }
}
