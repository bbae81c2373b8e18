# ---- the ranks: one task a GPU; if one dies, all end
COMMAND=(@@{command})
beats() { [ -s "$DIR/heartbeat" ]; }
stop() { # before the first heartbeat nobody reads STOP, and nothing is to be saved: TERM ends what still starts
  echo "$1" > "$DIR/asked"
  log "$1: asking for a save"
  touch "$DIR/STOP"
  beats || [ ! -e "$DIR/step" ] || scancel --signal=TERM "$SLURM_JOB_ID.$(cat "$DIR/step")"
}
trap 'stop "time limit near"' USR1
trap 'stop "preempted, cancelled or a node lost"' TERM
# shellcheck disable=SC2016
AS_RANK='ulimit -c 0
  export RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID WORLD_SIZE=$SLURM_NTASKS
  export LOCAL_WORLD_SIZE=@@{tasks_per_node} NODE_RANK=$SLURM_NODEID
  [ "$RANK" != 0 ] || echo "$SLURM_STEP_ID" > "$1/step"
  [ ! -e "$1/STOP" ] || exit 143
  shift
  exec "$@"'
srun --kill-on-bad-exit=1 --wait=60 --cpus-per-task=@@{cpus_per_rank} --output="$DIR/rank-%t.log" @@{srun}\
  bash -c "$AS_RANK" rank "$DIR" @@{wrapper}"${PROGRAM[@]}" "${COMMAND[@]}" 2> >(tee -a "$DIR/srun.log" >&2) &
STEP=$!

# ---- watchdog: by what the heartbeat says, never by file times, for clocks of nodes and servers differ
end_step() { # end_step SECONDS TO OBEY
  kill -TERM "$STEP"
  sleep "$1"
  kill -KILL "$STEP"
}
watch() {
  local seen=none since=$SECONDS asked='' beat limit
  while sleep 2; do
    mine || { log "fenced: ending the ranks"; end_step 5; return; }
    if grep -qs "time limit" "$DIR/asked" && [ $((SECONDS - ${asked:=$SECONDS})) -ge @@{save_s} ]; then
      echo "no save within @@{save_s} s of being asked for one" > "$DIR/LATE"
      log "$(cat "$DIR/LATE"): ending the ranks, for a job that meets its time limit is not requeued"
      end_step 5
      return
    fi
    beat=$(cat "$DIR/heartbeat" 2> /dev/null)
    [ "$beat" = "$seen" ] || { seen=$beat; since=$SECONDS; }
    if [ -n "$beat" ]; then limit=@@{hang_s}; else limit=@@{startup_s}; fi
    [ $((SECONDS - since)) -le "$limit" ] && continue
    echo "no heartbeat for $((SECONDS - since)) s" > "$DIR/HANG"
    log "no heartbeat for $((SECONDS - since)) s: every rank prints its stack, then the step is ended"
    [ -e "$DIR/step" ] && scancel --signal=ABRT "$SLURM_JOB_ID.$(cat "$DIR/step")"
    sleep 5
    end_step 10
    return
  done
}
watch 2> /dev/null &
WATCHDOG=$!
while :; do # a trapped signal interrupts wait, the ranks live on
  wait "$STEP"
  CODE=$?
  kill -0 "$STEP" 2> /dev/null || break
done
kill "$WATCHDOG" 2> /dev/null

# ---- the marker decides, not the exit code: srun says 137 or 143 for whatever a rank died of
END=$(field "$DIR/end" reason)
log "srun returned $CODE, the trainer said ${END:-nothing}, step $(field "$DIR/heartbeat" step)"
mine || { because "fenced: the run belongs to $(cat "$RUN/owner")"; exit 1; }
case $END in
  done)
    because "done"
    exit 0
    ;;
  stopped)
    [ -e "$RUN/KILL" ] && because "stopped on request" && exit 0
    again "stopped: $(cat "$DIR/asked" 2> /dev/null || echo asked to)"
    ;;
esac
[ -e "$DIR/asked" ] && ! beats && again "stopped before its first heartbeat: $(cat "$DIR/asked")"
[ -e "$DIR/HANG" ] && failed "hang: $(cat "$DIR/HANG")"
[ -e "$DIR/LATE" ] && failed "time limit: $(cat "$DIR/LATE")"
DEATHS=$(grep -oE "[^ ]+: tasks? [0-9,-]+: .*" "$DIR/srun.log" 2> /dev/null | sort -u | paste -s -d ";" | cut -c 1-400)
failed "${DEATHS:-the ranks ended with code $CODE and no end marker}$(field "$DIR/end" message | sed 's/^./: &/')${SETUP_FAILED:+; a setup line had failed: $SETUP_FAILED}"
