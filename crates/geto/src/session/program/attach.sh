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
      # Whoever runs the task removes it as soon as it has ended; what is open stays.
      if ! [ -r "$g_task/outcome" ] || ! exec 9<"$g_task/outcome"; then
        fail gone "$g_task: was removed"
        return
      fi
      {
        read_channel &
        await_end 2>/dev/null 3<&- 4>&- 9<&-
      } | follow || fail gone "$g_task: was removed"
      exec 9<&-
      ;;
    *) show_so_far ;;
  esac
}

# skip_both: moves both outputs to where they are wanted from.
skip_both() {
  # shellcheck disable=SC2046  # two lines of nine fields, err before out
  set -- $(ls -ln out err 2>/dev/null)
  skip "$g_from_out" "${14}" out <&5
  g_sent_out=$g_rest
  skip "$g_from_err" "$5" err <&6
  g_sent_err=$g_rest
  say from "$g_sent_out $g_sent_err"
  say size "${14} $5"
}

# skip FROM SIZE NAME: moves stdin, a file of that size, to FROM: a number of bytes, `end`, or
# `tail:LINES`. Sets g_rest to where that is.
skip() {
  case $1 in
    end | none) g_rest=$2 ;;
    # No more than was measured: the file grows.
    tail:*)
      g_rest=$(copy_file "$2" <"$3" | tail -n "${1#*:}" | wc -c)
      # shellcheck disable=SC2086  # some count with blanks in front
      reckon "$2" - $g_rest
      g_rest=$g_sum
      ;;
    *) g_rest=$1 ;;
  esac
  # dd moves what it shares with this process, and reads nothing.
  reckon "$g_rest" / 65536
  dd bs=65536 skip="$g_sum" count=0 2>/dev/null
  reckon "$g_rest" % 65536
  dd bs=1 skip="$g_sum" count=0 2>/dev/null
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
    if [ -e "$g_gone/$g_id" ] || ! [ -d "$g_task" ]; then
      echo gone
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

# are_there: whether the files are there, of which what was read a moment ago can be trusted then.
are_there() {
  [ -e out ] && [ -e err ] && [ -e outcome ]
}

# tell_gone: tells of a task that was removed before its end was told: the end, and what it had written.
tell_gone() {
  g_told=yes
  read -r g_end <&9
  case $g_end in *' .') ;; *) g_end= ;; esac
  # shellcheck disable=SC2046  # two lines of nine fields
  set -- $(ls -lnL /proc/self/fd/5 /proc/self/fd/6 5<&5 6<&6 2>/dev/null)
  if [ -z "$g_end" ] || [ $# -ne 18 ]; then
    fail gone "$g_task: was removed"
    return
  fi
  copy_to "$5" "${14}"
  say ended "$g_end"
  [ "$g_bring" = none ] || are_gone
  say nofiles ''
}

# show_so_far: sends what a task that runs has written so far, and its files as they are.
show_so_far() {
  open_output || {
    fail gone "$g_task: was removed"
    return
  }
  [ "$g_state" = waiting ] || say started "$g_task/dir"
  copy_growth
  are_there || {
    fail gone "$g_task: was removed"
    return
  }
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
    [ "$g_state" != running ] || ! { read -r g_pid g_rest <"$g_pids/$g_id"; } 2>/dev/null || cpu_ticks
    g_rest=$g_about_since$g_nl$g_about_clock$g_nl$g_start$g_nl$g_held$g_nl$g_used
    g_rest=$g_rest$g_nl$g_about_origin$g_nl$g_about_host$g_nl$g_about_name$g_nl$g_end
    g_tag=
    { read -r g_tag <"$g_task/tag"; } 2>/dev/null
    g_rest=$g_rest$g_nl$g_tag
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
  set -- $g_fields
  g_used=$((${12} + ${13} + ${14} + ${15}))
}
