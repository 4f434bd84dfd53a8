#!/usr/bin/env bash
# The main job, as its users would type it: a control plane, a registry, requests, approvals, onboarding, proof.
# `demo.sh down` stops and removes everything that this made. Run again at any time: it goes on from what is there.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
state=${XDG_STATE_HOME:-$HOME/.local/state}/gcloud-pk/demo
lab=demo
registry=$state/registry
keys=$state/keys
trust=$state/trust

say() { printf '\n\033[1m%s\033[0m\n' "$*" | if [[ -t 1 ]]; then cat; else sed 's/\x1b\[[0-9]*m//g'; fi; }
run() { printf '$ %s\n' "$*"; "$@"; }

if [[ ${1:-} == down ]]; then
  gcloud-pk lab down --name "$lab" --purge
  rm -rf "$state"
  exit 0
fi

if ! command -v ssh-keygen >/dev/null; then
  echo "the demo signs with ssh-keygen, which is not here; on Debian: apt-get install openssh-client" >&2
  exit 5
fi

say "1. A control plane on this machine: real etcd, kube-apiserver, controller manager and scheduler"
run gcloud-pk lab up --name "$lab"
KUBECONFIG=$(gcloud-pk lab kubeconfig --name "$lab")
export KUBECONFIG

say "2. A registry, two approvers and one who vouches for the registry"
umask 077
mkdir -p "$keys"
for who in approver-one approver-two registrar; do
  [[ -f $keys/$who ]] || ssh-keygen -q -t ed25519 -N '' -C "$who@demo" -f "$keys/$who"
done
printf 'registrar@demo namespaces="gcloud-pk-registry" %s\n' "$(cut -d' ' -f1,2 "$keys/registrar.pub")" >"$trust"
export GCLOUD_PK_REGISTRY=$registry GCLOUD_PK_TRUST=$trust
if [[ ! -d $registry ]]; then
  run gcloud-pk registry init "$registry" --organisations "$here/registry/organisations.yaml" \
    --approver "approver-one@demo=$keys/approver-one.pub" --approver "approver-two@demo=$keys/approver-two.pub"
  cp "$here/registry/settings.yaml" "$registry/"
  mkdir -p "$registry/sites" && cp "$here"/registry/sites/*.yaml "$registry/sites/"
fi
run gcloud-pk cluster register isb-1 --replace
run gcloud-pk registry sign --key "$keys/registrar"
run gcloud-pk registry check

say "3. Requests: submitted by the ministries, approved by people with keys"
state_of() { gcloud-pk request list --format json | python3 -c 'import json, sys
print(next((r["state"] for r in json.load(sys.stdin)["requests"] if r["tenant"] == sys.argv[1]), "none"))' "$1"; }
for request in "$here"/requests/*.yaml; do
  tenant=$(basename "$request" .yaml)
  case $(state_of "$tenant") in
    none) run gcloud-pk request submit "$request" ;;
    offboarded) echo "$tenant was offboarded; it stays so"; continue ;;
  esac
  [[ $(state_of "$tenant") != pending ]] || run gcloud-pk request approve "$tenant" --key "$keys/approver-one" --yes
done
for tenant in $(gcloud-pk request list --format json | python3 -c 'import json, sys
print(*(r["tenant"] for r in json.load(sys.stdin)["requests"] if r["state"] == "pending"))'); do
  say "$tenant holds secret data and needs two approvers; with one alone it is refused (exit 4):"
  run gcloud-pk onboard "$tenant" --yes || echo "exit $?"
  run gcloud-pk request approve "$tenant" --key "$keys/approver-two" --yes
done
run gcloud-pk request list

say "4. Onboarding: plan, apply, wait for the controls, give access, verify"
run gcloud-pk onboard --all --yes
run gcloud-pk tenant list

say "5. Again: nothing changes"
run gcloud-pk onboard --all --yes --no-verify

say "6. The proof in full, for one tenant: every wall, as the tenant's own identities"
run gcloud-pk audit isolation moitt

say "7. What was done with a tenant, line by line, each bound to the one before; checked against the cluster too"
run gcloud-pk registry history moitt --verify

kubectl=$(gcloud-pk lab status --name "$lab" --format json | python3 -c 'import json, os, sys
found = json.load(sys.stdin)["programs"].get("kubectl", {}).get("path")
print(os.path.dirname(found) if found else "")')
say "Done. Paste this to look around:"
cat <<EOF
export PATH="$(dirname "$(command -v gcloud-pk)")${kubectl:+:$kubectl}:\$PATH"
export KUBECONFIG="$KUBECONFIG"
export GCLOUD_PK_REGISTRY="$registry"
export GCLOUD_PK_TRUST="$trust"
EOF
cat <<'EOF'

gcloud-pk tenant list                 # who is there
gcloud-pk audit isolation --all       # every tenant, and the whole population of the cluster (-v: every check)
gcloud-pk audit probes                # what is checked, and what no check shows
gcloud-pk tenant welcome moitt        # the page that the ministry gets (--lang ur, --html)
gcloud-pk tenant suspend moitt --reason "an incident" --yes      # access goes; tenant resume gives it back
kubectl get tenants                   # the same, by a tool that is not ours
kubectl --context admin get networkpolicies,resourcequotas -n moitt-eoffice-prod
EOF
say "Still running: the lab's four processes (gcloud-pk lab status --name $lab)"
echo "stop it:            gcloud-pk lab down --name $lab      (keeps its data)"
echo "stop and remove it: make demo-down"
