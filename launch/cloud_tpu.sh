#!/bin/bash
# Training on a Cloud TPU slice, one process on each of its hosts:
#
#   export NAME=picking ZONE=us-west4-a TYPE=v5litepod-16 BUCKET=my-bucket
#   launch/cloud_tpu.sh create
#   launch/cloud_tpu.sh setup
#   launch/cloud_tpu.sh train --config=configs/picking.py --config.data.format=prepared \
#       --config.data.path=gs://my-bucket/stead --config.train.batch_size=1024
#   launch/cloud_tpu.sh log
#   launch/cloud_tpu.sh delete
#
# The arguments of `train` are those of train.py. Its working directory is bucket/runs/NAME in the
# home directory of each host: the folder runs/NAME of the bucket, seen by all hosts as files.
# The committed state of this repository is what runs. `train` again continues the run, also on a
# new slice of any size that divides the batch.
set -euo pipefail
cd "$(dirname "$0")/.."

: "${NAME:?a name for the slice}" "${ZONE:?such as us-west4-a}"

ssh_all() {  # a command for all hosts at once
    gcloud compute tpus tpu-vm ssh "$NAME" --zone="$ZONE" --worker=all --command="$1"
}

create() {
    : "${TYPE:?such as v5litepod-16, v5p-32 or v6e-16}"
    case "$TYPE" in
    v5litepod-*) version=v2-alpha-tpuv5-lite ;;
    v5p-*) version=v2-alpha-tpuv5 ;;
    v6e-*) version=v2-alpha-tpuv6e ;;
    *) : "${VERSION:?the software version for TYPE=$TYPE}" ;;
    esac
    # SPOT=--spot is cheaper, and can be taken away at any time.
    gcloud compute tpus tpu-vm create "$NAME" --zone="$ZONE" --accelerator-type="$TYPE" \
        --version="${VERSION:-$version}" ${SPOT:+"$SPOT"}
}

setup() {
    : "${BUCKET:?name of a bucket in the region of ZONE, without gs://}"
    archive=$(mktemp -d)/seismollm_jax.tar.gz
    git archive --format=tar.gz --output="$archive" HEAD
    gcloud compute tpus tpu-vm scp "$archive" "$NAME:" --zone="$ZONE" --worker=all
    rm -r "$(dirname "$archive")"
    # The hosts' own Python is older than what this package needs; uv brings one.
    ssh_all "set -e
        mkdir -p seismollm_jax bucket
        tar -xzf seismollm_jax.tar.gz -C seismollm_jax
        python3 -m pip install --quiet --user uv
        [ -d venv ] || python3 -m uv venv --quiet --python 3.11 venv
        python3 -m uv pip install --quiet --python venv/bin/python \
            -e './seismollm_jax[tpu]' gcsfs
        if ! command -v gcsfuse >/dev/null; then
            curl -fsS https://packages.cloud.google.com/apt/doc/apt-key.gpg |
                sudo tee /usr/share/keyrings/cloud.google.asc >/dev/null
            echo \"deb [signed-by=/usr/share/keyrings/cloud.google.asc] \
https://packages.cloud.google.com/apt gcsfuse-\$(lsb_release -cs) main\" |
                sudo tee /etc/apt/sources.list.d/gcsfuse.list
            sudo apt-get -qq update
            sudo apt-get -qq install -y gcsfuse
        fi
        mountpoint -q bucket || gcsfuse --implicit-dirs '$BUCKET' bucket
        venv/bin/python -c 'import jax; print(jax.__version__)'"
}

train() {
    arguments=$(printf ' %q' "$@")
    # It goes on when the connection ends. Each host writes its own log; `log` shows the first's.
    ssh_all "cd seismollm_jax
        nohup ../venv/bin/python train.py --distributed --workdir=\$HOME/bucket/runs/$NAME \
$arguments >\$HOME/train.log 2>&1 </dev/null &"
}

log() {
    gcloud compute tpus tpu-vm ssh "$NAME" --zone="$ZONE" --worker=0 \
        --command="tail -n 50 -f train.log"
}

stop() {  # SIGTERM to the training on all hosts
    ssh_all "pkill -TERM -f '[t]rain.py --distributed' || true"
}

delete() {
    gcloud compute tpus tpu-vm delete "$NAME" --zone="$ZONE"
}

case "${1:-}" in
create | setup | train | log | stop | delete) "$@" ;;
*) sed -n '2,/^set /s/^# \{0,1\}//p' "$0" && exit 2 ;;
esac
