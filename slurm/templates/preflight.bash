# ---- preflight: a node that does not pass is excluded from this job, and the job goes on without it
check_node() {
  bad() { echo "bad: $*"; exit 1; }
@@{checks}
  touch "$DIR/.preflight.$SLURMD_NODENAME" && mv "$DIR/.preflight.$SLURMD_NODENAME" "$DIR/preflight.$SLURMD_NODENAME"
  echo ok
}
STARTED=$(date +%s)
timeout @@{timeout_s} srun --ntasks="${#NODES[@]}" --ntasks-per-node=1 --wait=60 --output="$DIR/preflight-%N.log" \
  bash -c "$(declare -f check_node); $(declare -p DIR STARTED); check_node"
BAD=()
for node in "${NODES[@]}"; do [ -e "$DIR/preflight.$node" ] || BAD+=("$node"); done
if [ ${#BAD[@]} -gt 0 ]; then
  for node in "${BAD[@]}"; do log "preflight on $node: $(tail -n 1 "$DIR/preflight-$node.log" 2> /dev/null)"; done
  [ ${#BAD[@]} -lt ${#NODES[@]} ] || [ ${#NODES[@]} = 1 ] || failed "preflight failed on every node"
  @@{on_bad}
fi
@@{collective}
@@{enough}
