# shellcheck shell=sh
#
# Tasks that other sessions have started.

# request attach KEY=VALUE...: says how far a task has come, and tells of it from there as the session
# that started it would.
request_attach() {
  take_keys "$@"
  [ -n "$g_tasks" ] || exit 1
  g_task=$g_tasks/$g_id
  look
  [ "$g_state" != dead ] || {
    reap
    look
  }
  [ "$g_state" != sending ] || [ -z "$g_again" ] || revoke
  # Another session is about to bring it to its end.
  [ "$g_state" != dead ] || g_state=sending
  case $g_state in
    waiting | running | ended) say state "$g_state" ;;
    *)
      part_size
      say state "$g_state $g_size"
      return
      ;;
  esac
  read_about
  [ "$g_bring" != about ] || g_bring=$g_about_bring g_globs=$g_about_globs
  g_start=
  { read -r g_start g_rest <"$g_task/started"; } 2>/dev/null
  say about "$g_about_since$g_nl$g_about_clock$g_nl$g_start$g_nl$g_about_name"
  # What ends the task is not to end this session, nor the one that started it.
  claimer_lives
  echo "$g_self" >>"$g_task/attached"
  case $g_state$g_follow in
    ended* | *yes)
      {
        read_channel &
        await_end 2>/dev/null 3<&- 4>&-
      } | follow || fail gone "$g_task: was removed"
      ;;
    *) show_so_far ;;
  esac
}

# revoke: takes from another session the right to start the task, which its origin is about to send
# once more. Sets g_state to what came of it.
revoke() {
  claimer_lives
  set -C
  { echo revoked - >"$g_task/supervisor"; } 2>/dev/null || g_claimer=
  set +C
  [ -z "$g_claimer" ] || {
    # It waits for bytes that will not come.
    [ "$g_claim_place" != "$g_place" ] || [ -z "$g_proc" ] || kill -9 "${g_claimer%:*}" 2>/dev/null
    remove_task
  }
  look
}

# part_size: sets g_size to how many bytes of the dependencies have come.
part_size() {
  # shellcheck disable=SC2046,SC2012  # nine fields
  set -- $(ls -ln "$g_parts/$g_id" 2>/dev/null)
  g_size=${5:-0}
}

# read_about: sets g_about_* to what was said of the task when it was claimed.
read_about() {
  g_about_since='' g_about_clock='' g_about_origin='' g_about_host='' g_about_name='' g_about_bring=all
  g_about_globs=''
  {
    read -r g_about_since g_about_clock
    IFS= read -r g_about_origin
    IFS= read -r g_about_host
    IFS= read -r g_about_name
    read -r g_about_bring
    while IFS= read -r g_rest; do
      g_about_globs=$g_about_globs$g_rest$g_nl
    done
  } 2>/dev/null <"$g_task/about"
}

# await_end: writes the events that the supervisor of the task would.
await_end() {
  g_said=
  until has_ended; do
    if ! [ -d "$g_task" ]; then
      echo "error gone $g_task: was removed"
      return
    fi
    supervisor_lives || has_ended || reap
    [ -n "$g_said" ] || [ ! -s "$g_task/started" ] || {
      echo started
      g_said=yes
    }
    echo tick
    sleep 0.15 || sleep 1
  done
  [ -n "$g_said" ] || [ ! -s "$g_task/started" ] || echo started
  echo ended
}

# show_so_far: sends what a task that runs has written so far, and its files as they are.
show_so_far() {
  open_output || {
    fail gone "$g_task: was removed"
    return
  }
  [ "$g_state" = waiting ] || say started "$g_task/dir"
  copy_growth
  close_output
  say 'so-far' ''
  cd "$g_task" || return
  send_files
  cd /
}

# request list: says what is known of each task of this user.
request_list() {
  [ -n "$g_tasks" ] || exit 1
  g_hertz=$(getconf CLK_TCK 2>/dev/null) || g_hertz=100
  for g_task in "$g_tasks"/*; do
    g_id=${g_task##*/}
    look
    [ "$g_state" != dead ] || {
      reap
      look
    }
    case $g_state in none | gone) continue ;; esac
    read_about
    g_start='' g_held='' g_pid='' g_used=''
    { read -r g_start g_held <"$g_task/started"; } 2>/dev/null
    [ "$g_state" != running ] || ! { read -r g_pid g_rest <"$g_task/pid"; } 2>/dev/null || cpu_ticks
    g_rest=$g_about_since$g_nl$g_about_clock$g_nl$g_start$g_nl$g_held$g_nl$g_used
    g_rest=$g_rest$g_nl$g_about_origin$g_nl$g_about_host$g_nl$g_about_name$g_nl$g_end
    say task "$g_id$g_nl$g_state$g_nl$g_rest"
  done
  clock
  say listed "$g_clock $g_hertz"
}

# cpu_ticks: sets g_used to the processor time of the task's first process and of the children that
# it waited for.
cpu_ticks() {
  [ -n "$g_proc" ] && parent_of "$g_pid" 2>/dev/null || return
  # shellcheck disable=SC2086  # fields
  set -- ${g_stat##*\)}
  g_used=$((${12} + ${13} + ${14} + ${15}))
}
