#!/bin/bash
# Runs on each host of a slice, called by launch/tpu_pod.py. Its files are in ~/biggan_jax on the host:
#   code/  the copied code        venv/  Python and the packages of the code
#   run/   log, command, pid and exit_code of the training process; the file stop, if it must not start again
#
#   tpu_host.sh setup            installs the packages
#   tpu_host.sh start COMMAND    starts the command in the background, where it outlives the connection
#   tpu_host.sh restart COMMAND  does the same, unless a stop was requested in the meantime
#   tpu_host.sh poll [COMMAND]   reports running, ended, stopped, gone, idle, or busy with another command
#   tpu_host.sh stop             sends SIGTERM: the command saves and ends
#   tpu_host.sh kill             sends SIGKILL to the command and its children
#   tpu_host.sh logs LINES [-F]  prints the end of the output
#
# All verbs but setup and logs print one last line, with tabs between: host, the number of the worker, the
# state, the exit code or -, the last line of output.
set -euo pipefail

code=$HOME/biggan_jax/code
venv=$HOME/biggan_jax/venv
run=$HOME/biggan_jax/run
mkdir -p "$run"

worker() {
  local name
  name=$(hostname)
  echo "${name##*-w-}" # t1v-n-0123abcd-w-7 is worker 7; the host of a one-host slice may have another name
}

# The training process and the shell that waits for it hold this lock. Unlike a process number, it does not
# survive a reboot.
running() {
  ! flock --shared --nonblock "$run/lock" true
}

# report [COMMAND]: the state is busy if COMMAND is given and another command runs.
report() {
  local state=idle exit_code=- last=
  if running; then
    state=running
    if (($#)) && [[ $(<"$run/command") != "$(printf '%q ' "$@")" ]]; then state=busy; fi
  elif [[ -e $run/command ]]; then
    state=gone # no exit code: the machine has rebooted, or all processes were killed
    if [[ -e $run/exit_code ]]; then
      state=ended
      exit_code=$(<"$run/exit_code")
    fi
    if [[ -e $run/stop ]]; then state=stopped; fi
  fi
  if [[ -e $run/log ]]; then
    last=$(tail --lines=1 "$run/log" | tr '\r' '\n' | tail --lines=1 | tr --delete --complement '[:print:]')
  fi
  printf 'host\t%s\t%s\t%s\t%s\n' "$(worker)" "$state" "$exit_code" "${last:0:120}"
}

start() {
  exec 9>>"$run/lock"
  if flock --timeout 2 9; then
    rm -f "$run/exit_code" "$run/pid" "$run/group"
    printf '%q ' "$@" >"$run/command"
    setsid --fork bash "$0" supervise "$@" </dev/null >>"$run/log" 2>&1 # with the lock, which is fd 9
  fi
  exec 9>&-
  report "$@"
}

# signal SIGNAL FILE SIGN: signals the process (with the sign -, the group) whose number is in the file, which
# appears a moment after the start.
signal() {
  while running; do
    if [[ -s $2 ]]; then
      kill "$1" -- "$3$(<"$2")" || true
      return
    fi
    sleep 0.1
  done
}

case $1 in
setup)
  # uv finds or installs a recent Python: Ubuntu 22.04 has 3.10. The variable is for systems that refuse pip
  # even in the user's own directory.
  PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install --quiet --user --upgrade uv
  python3 -m uv venv --quiet --allow-existing --python '>=3.11' "$venv"
  python3 -m uv pip install --quiet --python "$venv/bin/python" --editable "${code}[tpu,gcs]"
  ;;
start)
  rm -f "$run/stop"
  start "${@:2}"
  ;;
restart)
  if [[ -e $run/stop ]]; then report; else start "${@:2}"; fi
  ;;
supervise)
  trap : TERM # a machine that shuts down signals this shell too, which must still write the exit code
  cd "$code"
  export PATH=$venv/bin:$PATH PYTHONUNBUFFERED=1
  echo $$ >"$run/group"
  echo "---- $(date --utc '+%F %T') UTC, worker $(worker): $(<"$run/command")"
  exit_code=0
  # shellcheck disable=SC2016  # the inner shell, which becomes the command, expands it
  bash -c 'echo $$ >"$0"; exec "$@"' "$run/pid" "${@:2}" || exit_code=$?
  echo "$exit_code" >"$run/exit_code"
  ;;
poll)
  report "${@:2}"
  ;;
stop)
  touch "$run/stop"
  signal -TERM "$run/pid" ""
  report
  ;;
kill)
  signal -KILL "$run/group" -
  flock --timeout 30 "$run/lock" true || true
  report
  ;;
logs)
  tail --lines="$2" "${@:3}" "$run/log" | sed --unbuffered "s/^/$(worker)| /"
  ;;
*)
  sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
  exit 2
  ;;
esac
