#!/bin/bash
# What launch/tpu_pod.py has each host of a slice do; everything lies in ~/biggan_jax on the host:
#   code/  the files that were sent        venv/  Python and what the code needs
#   run/   log, command, pid and exit_code of the training process; stop, if it is to stay ended
#
#   tpu_host.sh setup            installs what the code needs
#   tpu_host.sh start COMMAND    starts it in the background, where it outlives the connection
#   tpu_host.sh restart COMMAND  the same, unless a stop was asked for in the meantime
#   tpu_host.sh poll [COMMAND]   says how it is: running, ended, stopped, gone, idle; busy with another command
#   tpu_host.sh stop             SIGTERM: it saves and ends
#   tpu_host.sh kill             SIGKILL, to it and its children
#   tpu_host.sh logs LINES [-F]  the end of its output
#
# All but setup and logs end with one line, tabs between: host, the worker's number, its state, the exit code
# or -, the last line of output.
set -euo pipefail

code=$HOME/biggan_jax/code
venv=$HOME/biggan_jax/venv
run=$HOME/biggan_jax/run
mkdir -p "$run"

worker() {
  local name
  name=$(hostname)
  echo "${name##*-w-}" # t1v-n-0123abcd-w-7 is worker 7; a slice of one host may have another name
}

# The training process and the shell that waits for it hold this lock: unlike a process number, it cannot be
# left behind by a reboot.
running() {
  ! flock --shared --nonblock "$run/lock" true
}

# report [COMMAND]: busy, if COMMAND is given and another one runs.
report() {
  local state=idle exit_code=- last=
  if running; then
    state=running
    if (($#)) && [[ $(<"$run/command") != "$(printf '%q ' "$@")" ]]; then state=busy; fi
  elif [[ -e $run/command ]]; then
    state=gone # without an exit code: the machine was started anew, or all was killed
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

# signal SIGNAL FILE SIGN: to the process (or, with the sign -, the group) whose number is in the file, which
# is there a moment after the start.
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
  # uv finds a Python that is new enough, or gets one: Ubuntu 22.04 has 3.10. The variable is for systems that
  # keep pip out of even the user's own directory.
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
  trap : TERM # a machine that shuts down sends it to this shell too, which has still to note the exit code
  cd "$code"
  export PATH=$venv/bin:$PATH PYTHONUNBUFFERED=1
  echo $$ >"$run/group"
  echo "---- $(date --utc '+%F %T') UTC, worker $(worker): $(<"$run/command")"
  exit_code=0
  # shellcheck disable=SC2016  # for the inner shell, which becomes the command
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
