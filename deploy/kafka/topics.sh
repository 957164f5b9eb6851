#!/usr/bin/env bash
# Topics and rights of certsieve on a shared Kafka cluster, for the cluster's administrator.
#
#   deploy/kafka/topics.sh --bootstrap-server HOST:PORT[,…] [options]
#
#     --command-config FILE    the administrator's own login, as Kafka's tools read it
#     --principal NAME         certsieve's user: may write the topics, and no more. User:certsieve, or
#                              the subject of a client certificate as the cluster maps it
#     --consumer NAME          a user who may read the topics (SIEM, pager); may be given several times
#     --group PREFIX           consumer groups of those users: this name and names that start with it;
#                              their user's name unless said
#     --prefix NAME            topic_prefix in [kafka]: certsieve unless said
#     --replication N          copies of each topic: 3 unless said
#     --min-insync N           copies that must have a record before it counts: 2 unless said
#     --may-create             certsieve creates missing topics itself (create_topics = true): no topic is
#                              made here, and the user gets that right
#     --dry-run                print the commands instead
#
# Kafka's tools are looked for in KAFKA_BIN, else in PATH. Can be run again: topics that exist are left as
# they are, rights are only added. Then set create_topics = false and `certsieve check --online` says
# whether all is well.
set -euo pipefail

# records.md: name, partitions, days.
readonly TOPICS=(
    "alert.v1 3 90"
    "match.v1 6 30"
    "malformed.v1 3 30"
    "health.v1 1 30"
)

prefix=certsieve
replication=3
min_insync=2
bootstrap=
principal=
consumers=()
group=
may_create=
dry_run=
login=()

main() {
    arguments "$@"
    if [[ ! $may_create ]]; then
        topics
    fi
    if [[ $principal ]]; then
        producer
    fi
    local consumer
    for consumer in "${consumers[@]}"; do
        consumer "$consumer"
    done
}

arguments() {
    while [[ $# -gt 0 ]]; do
        case $1 in
        --may-create) may_create=yes ;;
        --dry-run) dry_run=yes ;;
        -h | --help)
            sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
            exit 0
            ;;
        --bootstrap-server | --command-config | --principal | --consumer | --group | --prefix | \
            --replication | --min-insync)
            [[ $# -ge 2 && -n $2 && $2 != -* ]] || usage "$1 needs a value"
            value "$1" "$2"
            shift
            ;;
        *) usage "unknown option $1" ;;
        esac
        shift
    done
    [[ $bootstrap ]] || usage "--bootstrap-server is missing"
    if [[ $may_create && ! $principal ]]; then
        usage "--may-create gives a right: --principal says to whom"
    fi
    if ((min_insync > replication)); then
        usage "--min-insync $min_insync is more than --replication $replication: nothing could be written"
    fi
}

value() {
    case $1 in
    --bootstrap-server) bootstrap=$2 ;;
    --command-config) login=(--command-config "$2") ;;
    --principal) principal=$(user "$2") ;;
    --consumer) consumers+=("$(user "$2")") ;;
    --group) group=$2 ;;
    --prefix)
        [[ $2 =~ ^[A-Za-z0-9._-]+$ ]] || usage "--prefix $2 is no part of a topic's name"
        prefix=$2
        ;;
    --replication) replication=$(number "$1" "$2") ;;
    --min-insync) min_insync=$(number "$1" "$2") ;;
    esac
}

# user NAME: as Kafka writes principals.
user() {
    if [[ $1 == User:* ]]; then echo "$1"; else echo "User:$1"; fi
}

number() {
    [[ $2 =~ ^[1-9][0-9]?$ ]] || usage "$1 $2 is no number from 1 to 99"
    echo "$2"
}

usage() {
    echo "topics.sh: $*; --help says how it is called" >&2
    exit 2
}

topics() {
    local topic name partitions days
    for topic in "${TOPICS[@]}"; do
        read -r name partitions days <<<"$topic"
        tool kafka-topics.sh --create --if-not-exists --topic "$prefix.$name" --partitions "$partitions" \
            --replication-factor "$replication" --config "min.insync.replicas=$min_insync" \
            --config "retention.ms=$((days * 24 * 60 * 60 * 1000))" --config cleanup.policy=delete
    done
}

# Write is all that an idempotent producer needs, and brings Describe. DescribeConfigs shows certsieve
# min.insync.replicas: without it, it says at every start that it does not know how well records are kept.
# The dot at the end keeps other topics out that only start alike.
producer() {
    local operations=(--operation Write --operation Describe --operation DescribeConfigs)
    if [[ $may_create ]]; then
        operations+=(--operation Create)
    fi
    tool kafka-acls.sh --add --allow-principal "$principal" "${operations[@]}" \
        --topic "$prefix." --resource-pattern-type prefixed
}

consumer() {
    tool kafka-acls.sh --add --allow-principal "$1" --consumer --topic "$prefix." \
        --group "${group:-${1#User:}}" --resource-pattern-type prefixed
}

# tool NAME ARGUMENT…: says what it does, and does it unless this is a dry run.
tool() {
    local name=$1
    shift
    local command=("${KAFKA_BIN:+$KAFKA_BIN/}$name" --bootstrap-server "$bootstrap" "${login[@]}" "$@")
    if [[ $dry_run ]]; then
        printf '%q ' "${command[@]}"
        echo
        return
    fi
    # Kafka's tools may start a process that would read what is meant for this script.
    "${command[@]}" </dev/null
}

main "$@"
