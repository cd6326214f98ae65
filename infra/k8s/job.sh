#!/bin/sh
# Train in a Kubernetes job: make it from a template, follow the log of its first pod, and delete it
# however this ends.
#
#   launcher: [sh, infra/k8s/job.sh, infra/k8s/job.yaml]
#
# The words that follow the template are the command of a rank; they take the place of @COMMAND@ as
# a JSON list. The pods must see puna, its Python and the store under the same paths.
set -eu
if [ "$#" -lt 2 ] || [ ! -f "$1" ]; then
    echo "job.sh: usage: job.sh TEMPLATE.yaml COMMAND..." >&2
    exit 2
fi
template=$1
shift
name=puna-$(date +%s)-$$
scratch=$(mktemp)
children=
ended() {
    rm -f "$scratch"
    for child in $children; do kill "$child" 2>/dev/null || true; done
    kubectl delete job,service "$name" --ignore-not-found --wait=false >&2 || true
}
trap ended EXIT
trap 'exit 143' INT TERM
# puna holds the other end of stdin: when it closes, the job ends too, after time to save.
"$1" -c '
import os, sys, time
pid, grace_s = map(int, sys.argv[1:])
while os.read(3, 4096):
    pass
time.sleep(grace_s)
os.kill(pid, 15)
' "$$" "${PUNA_GRACE_S:-115}" 3<&0 >/dev/null 2>&1 &
children=$!
words=$("$1" -c 'import json, sys; print(json.dumps(sys.argv[1:]))' "$@")
"$1" -c '
import sys
template, name, words = sys.argv[1:]
text = open(template, encoding="utf-8").read()
if "@COMMAND@" not in text:
    sys.exit(f"job.sh: {template} has no @COMMAND@, where the command of a rank is to stand")
sys.stdout.write(text.replace("@COMMAND@", words).replace("@NAME@", name))
' "$template" "$name" "$words" >"$scratch"
kubectl apply -f "$scratch" >&2
selector="batch.kubernetes.io/job-name=$name,batch.kubernetes.io/job-completion-index=0"
kubectl wait --for=jsonpath='{.status.phase}'=Running pod -l "$selector" \
    --timeout="${PUNA_START_TIMEOUT:-600s}" >&2
kubectl logs -f -l "$selector" --tail=-1 &  # the shell hears signals only while it waits
log=$!
children="$children $log"
wait "$log"
# The log ends when the pod does; the job's condition follows.
kubectl wait --for=condition=complete "job/$name" --timeout=60s >&2
