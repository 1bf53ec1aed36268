# shellcheck shell=sh
#
# A task's supervisor: it runs the task to its end and outlives the session.

# run NAME=VALUE... -- ARG...: runs the claimed task and tells of it until it has ended.
run() {
  connection_unit
  if [ -n "$g_detach$g_unit" ] || has_manager; then find_ending; fi
  # Events, a line each: waiting, slot, tick, started, ended, full, error, idle, eof. The supervisor does not notice when the
  # follower at the other end of this pipe is gone.
  {
    myself
    g_supervisor=$g_pid g_mine="$g_place $g_pid:$g_began"
    read_channel &
    # A channel that this process held open would not end with its session.
    exec 3<&- 4>&-
    # What there is to say in the end.
    g_last_words=''
    # A lease is kept here, and is over also when nobody says when to look any more.
    [ -z "$g_lease" ] || {
      tick 2>/dev/null &
      g_ticker=$!
    }
    [ -z "$g_ticket" ] || lock_ticket
    if lease_is_over; then
      ! is_ours || remove_task
      g_last_words='error lease it came too late'
    elif may_start 2>/dev/null; then
      if [ "$g_slots" = 0 ] || [ -n "$g_ticket" ] || wait_for_slot 2>/dev/null || [ -e "$g_task/why" ]; then
        supervise "$@"
        g_last_words=ended
      else
        # Nothing was started, and another request may come for the same task.
        remove_task
      fi
    elif [ -s "$g_task/supervisor" ]; then
      g_last_words="error exists another session has claimed the task"
    else
      ! is_ours || remove_task
      g_last_words="error disk $g_task: no room to say who runs it"
    fi
    end_ticker
    [ -z "$g_last_words" ] || echo "$g_last_words"
  } | follow || fail gone "$g_task: was removed"
}

# may_start: the one step that gives the right to start the task. It is taken from a session that has
# claimed the task and is cut off from its origin (`revoke`) in the same way.
may_start() {
  set -C
  echo "$g_mine" >"$g_task/supervisor"
  set +C
  read -r g_rest <"$g_task/supervisor" && [ "$g_rest" = "$g_mine" ] \
    && read -r g_rest <"$g_task/claim" && [ "$g_rest" = "$g_claim" ] && [ ! -e "$g_gone/$g_id" ] \
    && [ ! -e "$g_pids/$g_id" ]
}

# supervise NAME=VALUE... -- ARG...: runs the task to its end and writes the outcome. It outlives
# the session: nothing in it waits for the channel.
supervise() {
  own_scope || [ -z "$g_detach" ] || [ -z "$g_ending" ] || echo "fragile $g_ending"
  [ "$g_timeout" = 0 ] || {
    watch_timeout >/dev/null 2>&1 &
    g_watchdog=$!
  }
  g_input=/dev/null
  [ -z "$g_stdin" ] || g_input=$g_task/stdin
  g_out=$g_task/out
  g_err=$g_task/err
  [ -z "$g_pipes" ] || open_pipes
  clock
  g_start=$g_clock
  (execute "$@") <"$g_input" 9>&1 >>"$g_out" 2>>"$g_err" 3<&- 4>&-
  g_status=$?
  # Processor time of the children that were waited for: so far, only the task.
  # In braces, or what can't be written would end a shell: `times` is a special builtin.
  { times; } >"$g_task/over"
  bury_task
  clock
  g_end=$g_clock
  [ "$g_timeout" = 0 ] || kill "$g_watchdog" 2>/dev/null
  # So far it is this process.
  g_pid=none
  [ ! -d "$g_task" ] || read -r g_pid g_rest <"$g_pids/$g_id"
  g_left=
  if [ -e "$g_task/why" ]; then
    end_tree 10
  elif [ -z "$g_leave" ]; then
    end_tree 2
  fi
  release
  [ -z "$g_pipes" ] || close_pipes
  name_left
  g_why=
  [ -e "$g_task/why" ] && read -r g_why <"$g_task/why"
  # A task that has removed what is kept of it may have been started or not.
  g_started=
  if [ -s "$g_task/started" ]; then
    g_started=yes
  elif [ -n "$g_login" ] && [ ! -e "$g_task/login" ]; then
    [ ! -e "$g_task/claim" ] || g_started=login
  elif [ -e "$g_task/claim" ]; then
    g_started=${g_setup:+setup}
    g_started=${g_started:-no}
  fi
  g_times=
  { read -r g_rest && read -r g_times; } <"$g_task/over"
  g_full=
  { printf '%4096s' '' >>"$g_task/over"; } 2>/dev/null || g_full=yes
  printf 'status=%s why=%s started=%s start=%s end=%s cpu=%s full=%s left=%s .\n' \
    "$g_status" "$g_why" "$g_started" "$g_start" "$g_end" "$g_times" "$g_full" "$g_left" 1<>"$g_task/outcome"
  [ -d "$g_task" ] || [ ! -e "$g_gone/$g_id" ] || remove_task
} 2>/dev/null

# own_scope: takes this process, with all that it starts from here on, out of the session, and with it who
# keeps the lease, for hosts that end what a session leaves. Where that can't be, nothing is started for it.
own_scope() {
  [ -n "${g_ending-}" ] && has_manager || return
  g_rest=org.freedesktop.systemd1
  # shellcheck disable=SC2086  # a number, or nothing
  set -- "$g_supervisor" $g_ticker
  XDG_RUNTIME_DIR=$g_runtime busctl "$g_bus" --timeout=5 call $g_rest /org/freedesktop/systemd1 \
    $g_rest.Manager StartTransientUnit 'ssa(sv)a(sa(sv))' "geto-$g_id.scope" fail 1 PIDs au $# "$@" 0 \
    >/dev/null || return
  # Its answer comes before it has been done.
  for g_ticks in 1 2 3 4 5 6 7 8 9 10; do
    grep -q "/geto-$g_id.scope\$" "/proc/$g_supervisor/cgroup" && true >"$g_task/scope" && return
    sleep 0.02 || sleep 1
  done
  false
}

# open_pipes: lets the task write to pipes that are copied to the files. A script that opens
# /dev/stderr by name would truncate a file; a pipe has nothing to lose.
open_pipes() {
  mkfifo "$g_task/out.pipe" "$g_task/err.pipe" || {
    g_pipes=
    return
  }
  g_out=$g_task/out.pipe
  g_err=$g_task/err.pipe
  cat <"$g_out" >>"$g_task/out" 3<&- 4>&- 8<&- &
  g_pipes=$!
  cat <"$g_err" >>"$g_task/err" 3<&- 4>&- 8<&- &
  g_pipes="$g_pipes $!"
}

# close_pipes: waits until everything is copied. Who still holds an end could not be ended, or is
# left alone; nobody waits for that one longer than a second.
close_pipes() {
  g_ticks=20
  for g_rest in $g_pipes; do
    while [ "$g_ticks" -gt 0 ] && kill -0 "$g_rest" && { [ -z "$g_proc" ] || parent_of "$g_rest"; }; do
      sleep 0.05 || sleep 1
      g_ticks=$((g_ticks - 1))
    done
    [ -n "$g_leave" ] || kill "$g_rest"
  done
}

# execute NAME=VALUE... -- ARG...: becomes the task.
execute() {
  # ksh93 runs a subshell in the same process until something forces it to fork.
  # shellcheck disable=SC3045
  case ${KSH_VERSION-} in *93*) ulimit -t "$(ulimit -t)" ;; esac
  myself
  # Not in the task's directory, which the task may remove: no other session may start it then, and at its
  # timeout it is found.
  echo "$g_pid $g_began" >"$g_pids/$g_id" || exit 125
  # A cancel that came before the id was written finds this process late; it finds the cancel.
  [ -e "$g_task/why" ] && exit 143
  [ -z "$g_ticket" ] || hold_ticket
  cd "$g_task/dir" || exit 126
  umask "$g_umask"
  unset LC_ALL
  [ -z "$g_locale" ] || export "LC_ALL=${g_locale#=}"
  export "GETO_TASK_ID=$g_id" "GETO_HOST=$g_host" "GETO_SCRIPT=$g_name"
  # What it takes to run under the profile of the login shell comes with the request: `login.sh`.
  [ -z "$g_login" ] || {
    eval "$g_login"
    set_own_aside
  }
  while [ "$1" != -- ]; do
    [ -z "$g_login" ] || {
      set_aside "$1"
      shift
      continue
    }
    # Of some names shells would take the value for arithmetic, in which commands may stand, until
    # such a variable is gone; in zsh it has to be hidden.
    # shellcheck disable=SC3044
    case ${ZSH_VERSION-} in
      ?*) typeset -h "${1%%=*}" ;;
      *) unset -v "${1%%=*}" ;;
    esac
    # shellcheck disable=SC2163  # NAME=VALUE
    export "$1"
    shift
  done
  shift
  [ -n "$g_login" ] || {
    [ -z "$g_setup" ] || eval "$g_setup" 9>&- || exit
    # What was not written down has not happened: on a full disk nothing is started.
    # Who ends a task that was left by its supervisor makes it, too.
    set -C
    echo "$g_start ${g_held-}" >"$g_task/started" || exit 125
    set +C
    # The follower may be gone by now; the task is not to end over that.
    trap '' PIPE
    echo started >&9 2>/dev/null
    trap - PIPE
  }
  case $g_kind in
    binary) set -- "$g_task/dir/.geto-script" "$@" ;;
    text) set -- "$g_interpreter" ${g_option:+"$g_option"} "$g_task/dir/.geto-script" "$@" ;;
    *)
      # What stands in front of such a name would take it for an option.
      case $1 in -*) set -- env -- "$@" ;; esac
      ;;
  esac
  [ -z "$g_nice" ] || set -- nice -n "$g_nice" "$@"
  if [ -n "$g_login" ]; then
    log_in "$@"
  else
    become "$@"
  fi
}

# become ARG...: becomes this command.
become() {
  # A session of its own: a script that signals its whole group ends nothing but itself.
  if command -v setsid >/dev/null 2>&1; then
    set -- setsid "$@"
  else
    true >"$g_task/joined"
  fi
  # ksh93 and mksh would close the ticket by themselves.
  exec "$@" 7<&- 8<&8 9>&-
}

# watch_timeout: ends the task after g_timeout seconds.
watch_timeout() {
  drop_ticket
  trap 'kill $! 2>/dev/null; exit' TERM
  sleep "$g_timeout" &
  wait
  trap - TERM
  # A supervisor that was killed could not end this process.
  ! supervisor_lives || stop timed-out
}
