# shellcheck shell=sh
# shellcheck disable=SC2154  # g_nonce is set by the line that geto puts in front
#
# The host's side of geto: all that runs on a host beside the task. docs/design.md specifies what
# it reads and writes. geto removes comments and indentation before it sends this text, so no
# here-documents, and nothing that depends on the column.
#
# Rules of this file, each learned from a shell that differs (the matrix in the tests has six):
# - Only what POSIX has, plus `[ -O ]`; tools that may be missing are looked for.
# - Each variable begins with g_: a variable of the login environment would keep its export flag,
#   and the task would see the changed value.
# - `echo` is for words of our own; what may hold a backslash goes through printf.
# - Bytes of a task never pass through a variable (NUL would be lost), names never through a word
#   that is split.
# - The process that reads the channel sets no traps (dash and ash would tear a line apart).
# - What the task is a child of stays in the foreground: everything started with `&` ignores INT,
#   and dash, ash and ksh93 can't undo that for the task.
# - A fork costs 0.3 ms, a program 1 ms: count them.

# File descriptors: 3 is the channel's input, 4 its output, 7 the mutex, 8 the ticket of a running
# task, 9 its events.
exec 3<&0 4>&1 7</dev/null 8</dev/null </dev/null >/dev/null
g_umask=$(umask)
umask 077
# Lengths are counted in bytes, and the output of `ls` and error texts are those of the standard.
g_locale=${LC_ALL+=$LC_ALL}
LC_ALL=C
export LC_ALL
unset TAR_OPTIONS
g_nl='
'
g_tab=$(printf '\t')
g_ticket=''
g_proc=/proc
[ -r /proc/self/stat ] || g_proc=

# say NAME VALUE: one frame: a line with name and length, then the value.
say() {
  printf '%s %s %s\n%s' "$g_nonce" "$1" "${#2}" "$2" >&4
}

# fail KIND TEXT: the request failed; the origin decides what it means.
fail() {
  say error "$1 $2"
}

# take N: copies exactly N bytes of the channel to stdout. dd that knows no count_bytes reads them
# one by one: anything else may read too far, or stop at a short read.
take() {
  [ -n "${g_dd-}" ] || {
    dd iflag=fullblock,count_bytes count=0 </dev/null 2>/dev/null && g_dd=fast || g_dd=slow
  }
  case $g_dd in
    fast) dd bs=65536 iflag=fullblock,count_bytes count="$1" <&3 ;;
    slow) dd ibs=1 obs=65536 count="$1" <&3 ;;
  esac
}

# whoami_pid: sets g_pid to the id of the process that runs this, also in a subshell.
whoami_pid() {
  if [ -n "$g_proc" ]; then
    read -r g_pid g_rest <"$g_proc/self/stat"
  else
    g_pid=$(exec sh -c 'echo "$PPID"')
  fi
}

# clock: sets g_clock to seconds, with a fraction where the system has /proc; a clock that nobody
# sets is worth more than a fine one.
clock() {
  if [ -n "$g_proc" ]; then
    read -r g_clock g_rest <"$g_proc/uptime"
  else
    g_clock=$(date +%s)
  fi
}

# request work PATH: says where geto works on this machine.
request_work() {
  # shellcheck disable=SC2088  # the tilde comes from geto.ini and means the home here
  case $1 in
    '~/'*) g_work=${HOME-}/${1#??} ;;
    *) g_work=$1 ;;
  esac
  case $g_work in
    "${HOME:-/dev/null}"/*) ;;
    /*)
      # Shared with other users: a directory of this user's own, and nobody else's.
      g_work=$g_work/$(id -u)
      ;;
    *)
      fail work-path "$1: not an absolute path, and not below the home directory"
      return
      ;;
  esac
  g_machine=
  [ -r /etc/machine-id ] && read -r g_machine </etc/machine-id
  [ -n "$g_machine" ] || g_machine=$(uname -n)
  g_boot=
  [ -r /proc/sys/kernel/random/boot_id ] && read -r g_boot </proc/sys/kernel/random/boot_id
  g_tasks=$g_work/$g_machine/tasks
  g_gone=$g_work/$g_machine/gone
  if ! [ -d "$g_tasks" ] || ! [ -d "$g_gone" ]; then
    g_error=$(mkdir -p "$g_tasks" "$g_gone" 2>&1) || {
      fail work-path "$g_error"
      g_tasks=
      return
    }
  fi
  if ! [ -O "$g_work" ] || [ -L "$g_work" ]; then
    fail work-path "$g_work: not a directory of the login user's own"
    g_tasks=
    return
  fi
  say work "$g_work"
  say boot "$g_boot"
  # What a session was told to remove and couldn't, or was ended over.
  for g_task in "$g_tasks"/*; do
    [ -e "$g_gone/${g_task##*/}" ] || continue
    remove_task
    [ ! -e "$g_task" ] || say leftover "$g_task"
  done
}

# take_keys KEY=VALUE...: sets what a request says of a task.
take_keys() {
  g_id='' g_globs='' g_timeout=0 g_setup='' g_interpreter='' g_option='' g_nice='' g_login=''
  g_leave='' g_bring=all g_script='' g_stdin='' g_deps='' g_attempt='' g_pipes='' g_supervisor=''
  g_name='' g_slots=0 g_gpus=0 g_max=0 g_max_load=0 g_lock='' g_slots_there='' g_gpus_said=''
  g_patience=''
  while [ $# -gt 0 ] && [ "$1" != -- ]; do
    case $1 in
      id=*) g_id=${1#*=} ;;
      attempt=*) g_attempt=${1#*=} ;;
      host=*) g_host=${1#*=} ;;
      name=*) g_name=${1#*=} ;;
      kind=*) g_kind=${1#*=} ;;
      interpreter=*) g_interpreter=${1#*=} ;;
      option=*) g_option=${1#*=} ;;
      script=*) g_script=${1#*=} ;;
      stdin=*) g_stdin=${1#*=} ;;
      deps=*) g_deps=${1#*=} ;;
      timeout=*) g_timeout=${1#*=} ;;
      nice=*) g_nice=${1#*=} ;;
      setup=*) g_setup=${1#*=} ;;
      login=*) g_login=${1#*=} ;;
      leave=*) g_leave=${1#*=} ;;
      pipes=*) g_pipes=${1#*=} ;;
      bring=*) g_bring=${1#*=} ;;
      glob=*) g_globs=$g_globs${1#*=}$g_nl ;;
      slots=*) g_slots=${1#*=} ;;
      gpus=*) g_gpus=${1#*=} ;;
      max=*) g_max=${1#*=} ;;
      load=*) g_max_load=${1#*=} ;;
      lock=*) g_lock=${1#*=} ;;
      have=*) g_slots_there=${1#*=} ;;
      have-gpus=*) g_gpus_said=${1#*=} ;;
      patience=*) g_patience=${1#*=} ;;
    esac
    shift
  done
}

# request run KEY=VALUE... -- NAME=VALUE... -- ARG...: claims a task, takes what belongs to it, and
# runs it when the line `go` follows.
request_run() {
  take_keys "$@"
  while [ "$1" != -- ]; do
    shift
  done
  shift
  [ -n "$g_tasks" ] || exit 1
  g_task=$g_tasks/$g_id
  if claim && { [ "$g_slots" = 0 ] || [ -n "$g_ticket" ] || ready_for_slots; } && stage && go; then
    # The supervisor's from here on, whatever becomes of this process.
    exec 8</dev/null
    run "$@"
    g_ticket=
  else
    # What follows of this request can't be told from the next one.
    exit 1
  fi
}

# claim: gets the right to start the task, which nobody else can get for this id. The tombstone of
# a task that is done keeps a late duplicate from running it again.
claim() {
  if [ -e "$g_gone/$g_id" ]; then
    fail exists "the task has ended, and its results were fetched"
    return 1
  fi
  g_error=$(mkdir -p "$g_task/dir" 2>&1) || {
    fail work-path "$g_error"
    return 1
  }
  g_error=$g_attempt
  set -C
  { echo "$g_attempt" >"$g_task/claim"; } 2>/dev/null || g_error=
  set +C
  if [ -z "$g_error" ] && [ -e "$g_task/claim" ]; then
    read -r g_error <"$g_task/claim"
    # NFS may say that a file existed to the one who made it: what stands in it decides.
    if [ -n "$g_error" ] && [ "$g_error" != "$g_attempt" ]; then
      fail exists "another session has claimed the task"
      return 1
    fi
  fi
  # The outcome is written in place when the disk may be full: its room is taken now.
  { printf '%2048s\n' '' >"$g_task/outcome" && : >"$g_task/out" && : >"$g_task/err"; } 2>/dev/null || {
    give_up disk "$g_task: no room for the task's own files, or it can't be written"
    return 1
  }
}

# give_up KIND TEXT: the claimed task won't be started.
give_up() {
  release
  [ -z "$g_task" ] || remove_task
  fail "$1" "$2"
}

# remove_task: removes the task's directory, also what the task made unwritable.
remove_task() {
  cd / || return
  rm -rf "$g_task" 2>/dev/null || {
    chmod -R u+rwx "$g_task" 2>/dev/null
    rm -rf "$g_task" 2>/dev/null
  }
}

# stage: takes script, input and dependencies from the channel.
stage() {
  if [ "$g_kind" != command ]; then
    g_error=$(take "$g_script" 2>&1 >"$g_task/dir/.geto-script") || {
      give_up disk "$g_task: $g_error"
      return 1
    }
  fi
  if [ -n "$g_stdin" ]; then
    g_error=$(take "$g_stdin" 2>&1 >"$g_task/stdin") || {
      give_up disk "$g_task: $g_error"
      return 1
    }
  fi
  if [ -n "$g_deps" ]; then
    command -v tar >/dev/null 2>&1 || {
      give_up tool "tar: not found, and dependencies are unpacked with it"
      return 1
    }
    g_error=$({ take "$g_deps" 2>/dev/null | tar -xpof - -C "$g_task/dir"; } 2>&1 >/dev/null) || {
      give_up disk "$g_task: $g_error"
      return 1
    }
  fi
  case $g_kind in
    binary)
      chmod 700 "$g_task/dir/.geto-script"
      [ -x "$g_task/dir/.geto-script" ] || {
        give_up interpreter "$g_work: is mounted noexec, and the script is a binary"
        return 1
      }
      ;;
    text)
      if ! [ -x "$g_interpreter" ] || [ -d "$g_interpreter" ]; then
        give_up interpreter "$g_interpreter: interpreter of the script not found"
        return 1
      fi
      ;;
  esac
}

# go: waits for the word that everything was sent. Its absence means that the origin is gone, or
# that it found its own files changed while it sent them.
go() {
  read -r g_rest <&3 && [ "$g_rest" = go ] && return
  release
  remove_task
  return 1
}

# run NAME=VALUE... -- ARG...: runs the claimed task and tells of it until it has ended.
run() {
  # Events, a line each: waiting, slot, tick, started, ended, full, error, idle, eof. The supervisor does not notice when the
  # follower at the other end of this pipe is gone.
  {
    whoami_pid
    g_supervisor=$g_pid
    read_channel &
    g_reader=$!
    [ -z "$g_ticket" ] || lock_ticket
    if [ "$g_slots" = 0 ] || [ -n "$g_ticket" ] || wait_for_slot 2>/dev/null || [ -e "$g_task/why" ]; then
      tick 2>/dev/null 3<&- 4>&- &
      g_ticker=$!
      supervise "$@"
      kill "$g_ticker" 2>/dev/null
      echo ended
    else
      # Nothing was started, and another request may come for the same task.
      remove_task
    fi
    # The next request belongs to the process that is left. ksh93 and zsh don't wait for this side of
    # the pipe by themselves.
    wait "$g_reader"
    echo idle
  } | follow
}

# read_channel: passes a cancel on until the origin has seen the end (`ack`) or is gone.
read_channel() {
  drop_ticket
  while read -r g_rest; do
    case $g_rest in
      cancel) stop cancelled ;;
      ack) return ;;
    esac
  done
  # Who waits for a slot looks for this.
  : >"$g_task/gone"
  echo eof
} <&3 4>&-

# tick: says when to look for output. Short tasks are answered fast, and the longest wait leaves
# room within the 0.2 s that are promised.
tick() {
  drop_ticket
  for g_rest in 0.01 0.02 0.03 0.05 0.1; do
    sleep "$g_rest" || sleep 1
    echo tick
  done
  while :; do
    sleep 0.15 || sleep 1
    echo tick
  done
}

# supervise NAME=VALUE... -- ARG...: runs the task to its end and writes the outcome. It outlives
# the session: nothing in it waits for the channel.
supervise() {
  [ "$g_timeout" = 0 ] || {
    watch_timeout >/dev/null 2>&1 3<&- 4>&- &
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
  : >"$g_task/over"
  # Processor time of the children that were waited for: so far, only the task.
  times >"$g_task/times" 2>/dev/null
  clock
  g_end=$g_clock
  [ "$g_timeout" = 0 ] || kill "$g_watchdog" 2>/dev/null
  read -r g_pid <"$g_task/pid"
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
  g_started=
  [ -e "$g_task/started" ] && g_started=yes
  g_times=
  { read -r g_rest && read -r g_times; } <"$g_task/times"
  g_full=
  { printf '%4096s' '' >"$g_task/room"; } 2>/dev/null || g_full=yes
  printf 'status=%s why=%s started=%s start=%s end=%s cpu=%s full=%s left=%s .\n' \
    "$g_status" "$g_why" "$g_started" "$g_start" "$g_end" "$g_times" "$g_full" "$g_left" 1<>"$g_task/outcome"
} 2>/dev/null

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
  whoami_pid
  echo "$g_pid" >"$g_task/pid"
  # A cancel that came before the id was written finds this process late; it finds the cancel.
  [ -e "$g_task/why" ] && exit 143
  [ -z "$g_ticket" ] || hold_ticket
  cd "$g_task/dir" || exit 126
  umask "$g_umask"
  unset LC_ALL
  [ -z "$g_locale" ] || export "LC_ALL=${g_locale#=}"
  export "GETO_TASK_ID=$g_id" "GETO_HOST=$g_host" "GETO_SCRIPT=$g_name"
  while [ "$1" != -- ]; do
    # shellcheck disable=SC2163  # NAME=VALUE
    export "$1"
    shift
  done
  shift
  [ -z "$g_setup" ] || eval "$g_setup" 9>&- || exit
  # What was not written down has not happened: on a full disk nothing is started.
  echo "$g_start" >"$g_task/started" || exit 125
  echo started >&9
  case $g_kind in
    binary) set -- "$g_task/dir/.geto-script" "$@" ;;
    text) set -- "$g_interpreter" ${g_option:+"$g_option"} "$g_task/dir/.geto-script" "$@" ;;
  esac
  [ -z "$g_nice" ] || set -- nice -n "$g_nice" "$@"
  # shellcheck disable=SC2016  # for the login shell
  [ -z "$g_login" ] || case ${SHELL##*/} in
    fish) set -- "$SHELL" -l -c 'exec $argv' "$@" ;;
    csh | tcsh) set -- "$SHELL" -c 'if (-r ~/.login) source ~/.login; exec $argv:q' "$@" ;;
    *) set -- "${SHELL:-/bin/sh}" -l -c 'exec "$@"' sh "$@" ;;
  esac
  # A session of its own: a script that signals its whole group ends nothing but itself.
  command -v setsid >/dev/null 2>&1 && set -- setsid "$@"
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
  stop timed-out
}

# stop WHY: ends the task from outside; the first reason stands.
stop() {
  set -C
  { echo "$1" >"$g_task/why"; } 2>/dev/null || return
  set +C
  until [ -s "$g_task/pid" ]; do
    # Who waits for a slot looks for the reason.
    [ -d "$g_task" ] && [ ! -e "$g_task/waiting" ] || return
    sleep 0.05 || sleep 1
  done
  read -r g_pid <"$g_task/pid"
  end_tree 10
}

# end_tree SECONDS: ends all processes of the task whose first one is g_pid: TERM, and KILL when
# SECONDS have passed. Leaves in g_left the ids of those that are still there.
end_tree() {
  find_tree
  [ -n "$g_left" ] || return
  # Stopped first, so that none of them makes a new one between the look and the signal.
  g_seen=
  while [ "$g_left" != "$g_seen" ]; do
    g_seen=$g_left
    signal STOP
    find_tree
  done
  signal TERM
  signal CONT
  g_ticks=$(($1 * 10))
  while [ "$g_ticks" -gt 0 ]; do
    find_tree
    [ -n "$g_left" ] || return
    sleep 0.1 || { sleep 1 && g_ticks=$((g_ticks - 9)); }
    g_ticks=$((g_ticks - 1))
  done
  # A few rounds: a process may have been made by one that was killed a moment later.
  for g_ticks in 1 2 3 4 5; do
    signal KILL
    sleep 0.02 || sleep 1
    find_tree
    [ -n "$g_left" ] || return
  done
}

# signal NAME: sends a signal to each process of g_left.
signal() {
  for g_rest in $g_left; do
    kill -"$1" "$g_rest" 2>/dev/null
  done
}

# find_tree: sets g_left to the living processes of the task: its group and session, those with
# its id in their environment, those whose directory or an open file is in the task's directory,
# and all descendants of these.
find_tree() {
  g_left=
  [ -n "$g_proc" ] || {
    find_tree_ps
    return
  }
  # -z: the environment is separated by NUL, and a process may have a line feed in its name.
  # shellcheck disable=SC2010  # links to look at, not names
  g_found=$(
    grep -lszE -e "^GETO_TASK_ID=$g_id\$" -e "[)] [^ZX] [0-9]+ ($g_pid|[0-9]+ $g_pid) " \
      /proc/[0-9]*/environ /proc/[0-9]*/stat
    ls -ld /proc/[0-9]*/cwd /proc/[0-9]*/fd/* | grep -F -e "-> $g_task/" | grep -o '/proc/[0-9]*/'
    # Its id may be that of another process once the supervisor has seen its end.
    [ -e "$g_task/over" ] || echo "/proc/$g_pid/"
  )
  for g_rest in $g_found; do
    g_rest=${g_rest#/proc/}
    add_process "${g_rest%%/*}"
  done
  g_seen_left=
  while [ "$g_left" != "$g_seen_left" ]; do
    g_seen_left=$g_left
    g_found=$(
      IFS=' '
      # shellcheck disable=SC2086  # a list of numbers
      set -- $g_left
      IFS='|'
      grep -lszE -e "[)] [^ZX] ($*) [0-9]+ " /proc/[0-9]*/stat
    )
    for g_rest in $g_found; do
      g_rest=${g_rest#/proc/}
      add_process "${g_rest%%/*}"
    done
  done
} 2>/dev/null

# add_process ID: adds a process to g_left, unless it is there, is dead, or belongs to the session:
# the follower has the task's output open, too.
add_process() {
  case " $g_left $$ " in *" $1 "*) return ;; esac
  parent_of "$1" || return
  while [ "$g_parent" -gt 1 ] && [ "$g_parent" != "$g_pid" ] && [ "$1" != "$g_pid" ]; do
    case $g_parent in "$$" | "$g_supervisor") return ;; esac
    parent_of "$g_parent" || break
  done
  g_left="$g_left $1"
}

# parent_of ID: sets g_parent; false when the process is dead.
parent_of() {
  g_stat=
  { read -r g_stat; while read -r g_more; do g_stat="$g_stat $g_more"; done; } <"/proc/$1/stat" || return
  # The name may hold anything; what follows its last parenthesis does not.
  # shellcheck disable=SC2086  # fields
  set -- ${g_stat##*\)}
  [ $# -gt 19 ] && [ "$1" != Z ] && [ "$1" != X ] || return
  g_parent=$2
  g_began=${20}
}

# find_tree_ps: the same where there is no /proc: group and descendants, as ps or, where it knows
# nothing, the kernel says.
find_tree_ps() {
  g_found=$(ps -A -o pid= -o ppid= -o pgid= -o stat=)
  [ -n "$g_found" ] || {
    # What the kernel says of the group, or of the first process alone.
    if kill -0 -"$g_pid"; then
      g_left=" -$g_pid"
    elif [ -e "$g_task/why" ] && [ ! -e "$g_task/over" ] && kill -0 "$g_pid"; then
      g_left=" $g_pid"
    fi
    return
  }
  g_seen_left=none
  while [ "$g_left" != "$g_seen_left" ]; do
    g_seen_left=$g_left
    # shellcheck disable=SC2086  # fields
    set -- $g_found
    while [ $# -gt 3 ]; do
      case $4 in
        Z*) ;;
        *)
          case " $g_left " in
            *" $1 "*) ;;
            *" $2 "*) g_left="$g_left $1" ;;
            *) if [ "$3" = "$g_pid" ] || { [ "$1" = "$g_pid" ] && [ ! -e "$g_task/over" ]; }; then g_left="$g_left $1"; fi ;;
          esac
          ;;
      esac
      shift 4
    done
  done
} 2>/dev/null

# name_left: makes of the ids in g_left a list with names, for a person.
name_left() {
  g_found=
  for g_rest in $g_left; do
    g_more=
    [ -z "$g_proc" ] || { read -r g_more <"/proc/$g_rest/comm"; } 2>/dev/null
    g_found="$g_found $g_rest($g_more)"
  done
  g_left=$g_found
}

# follow: copies what grows to the channel, and tells of the end.
follow() {
  cd "$g_task" || return
  exec 5<out 6<err
  g_sent_out=0
  g_sent_err=0
  while read -r g_event; do
    case $g_event in
      tick) copy_growth ;;
      started) say started "$g_task/dir" ;;
      'waiting '* | 'slot '* | 'full '* | 'error '*) say "${g_event%% *}" "${g_event#* }" ;;
      ended)
        copy_growth
        g_rest=
        read -r g_rest <outcome
        say ended "$g_rest"
        send_files
        ;;
      # Nobody else reads the channel any more.
      idle) break ;;
      # The origin is gone. The task is not: whoever asks next finds it.
      eof) break ;;
    esac
  done
  exec 5<&- 6<&-
  cd /
}

# copy_growth: sends what both outputs have grown by.
copy_growth() {
  # shellcheck disable=SC2046  # two lines of nine fields, err before out
  set -- $(ls -ln out err)
  [ $# -eq 18 ] || return
  copy_bytes out 5 $((${14} - g_sent_out))
  g_sent_out=${14}
  copy_bytes err 6 $(($5 - g_sent_err))
  g_sent_err=$5
}

# copy_bytes NAME FD N: sends N bytes as a frame. One read of a file is never short, and dd takes
# not one byte more than it is told, so that the next call goes on exactly here.
copy_bytes() {
  [ "$3" -gt 0 ] || return
  printf '%s %s %s\n' "$g_nonce" "$1" "$3" >&4
  if [ "$3" -ge 65536 ]; then
    dd bs=65536 count=$(($3 / 65536)) <&"$2" >&4 2>/dev/null
  fi
  if [ $(($3 % 65536)) -gt 0 ]; then
    dd bs=$(($3 % 65536)) count=1 <&"$2" >&4 2>/dev/null
  fi
}

# send_files: sends the files that are to come home when they are small, and says when they are
# not: `files` asks for them then, and gets all of the channel's rest.
send_files() {
  choose_files || {
    say nofiles ""
    return
  }
  command -v tar >/dev/null 2>&1 || {
    say damaged "tar: not found, and files are sent with it"
    return
  }
  # 512 blocks of 512 bytes are small; one more tells that there is more. Whole blocks are never
  # read short, since tar writes nothing else.
  {
    (archive) 2>notes
    echo $? >status
  } | dd ibs=512 obs=65536 count=513 >small 2>/dev/null
  g_status=$?
  # shellcheck disable=SC2046  # nine fields
  set -- $(ls -ln small)
  # On a full disk none of these is whole.
  if [ "$g_status" -ne 0 ] || [ "${5:-262145}" -gt 262144 ] || ! read -r g_status <status; then
    rm -f small
    say large ""
    return
  fi
  [ "$g_status" = 0 ] || say damaged "$(dd bs=4096 count=1 <notes 2>/dev/null)"
  printf '%s files %s\n' "$g_nonce" "$5" >&4
  cat small >&4
}

# choose_files: false when there is nothing to send.
choose_files() {
  case $g_bring in
    none) return 1 ;;
    all)
      for g_rest in "$g_task/dir"/* "$g_task/dir"/.[!.]* "$g_task/dir"/..?*; do
        case ${g_rest##*/} in DEPS | .geto-script) continue ;; esac
        if [ -e "$g_rest" ] || [ -L "$g_rest" ]; then return 0; fi
      done
      return 1
      ;;
  esac
}

# archive: writes a tar archive of the files that are to come home.
archive() {
  cd "$g_task/dir" || return
  case $g_bring in
    all) tar -cf - --exclude=./DEPS --exclude=./.geto-script . ;;
    globs)
      set --
      IFS=$g_nl
      for g_rest in $g_globs; do
        if [ -e "./$g_rest" ] || [ -L "./$g_rest" ]; then
          set -- "$@" "./$g_rest"
        else
          printf 'no file matches %s\n' "$g_rest" >&2
        fi
      done
      if [ $# -eq 0 ]; then
        # An archive with no members.
        dd if=/dev/zero bs=512 count=2 2>/dev/null
      else
        tar -cf - "$@"
      fi
      ;;
  esac
}

# request files: sends the files of the task that ended, to the end of the channel.
request_files() {
  (archive) >&4
  exit
}

# request remove ID: the results are home; forgets the task, but not that there was one.
request_remove() {
  g_task=$g_tasks/$1
  # On a full disk there is room for the tombstone when the files are gone.
  { : >"$g_gone/$1"; } 2>/dev/null || {
    rm -rf "$g_task/dir"
    : >"$g_gone/$1"
  }
  remove_task
  if [ -e "$g_task" ]; then
    fail remove "$g_task: could not be removed"
  else
    say removed "$1"
  fi
}

say hello "$$"
while read -r g_line <&3; do
  eval "set -- $g_line"
  # A line of more than 4 KB is slow to read; it comes as counted bytes.
  [ "${1-}" != long ] || {
    g_line=$(take "$2" 2>/dev/null && echo .)
    eval "set -- ${g_line%.}"
  }
  g_request=${1-}
  [ $# -eq 0 ] || shift
  case $g_request in
    work) request_work "$@" ;;
    # facts.sh has these two, for sessions that ask.
    facts) request_facts ;;
    status) request_status "$@" ;;
    ticket) request_ticket "$@" ;;
    try) request_try ;;
    check) request_check ;;
    run) request_run "$@" ;;
    files) request_files ;;
    remove) request_remove "$@" ;;
    # This program once more: the start-up files of the login shell have read something, and the
    # origin has repeated it all.
    geto-begin) take "$1" >/dev/null 2>&1 ;;
    '' | ack | cancel | go | geto-ping) ;;
    *) fail request "unknown request" ;;
  esac
done
release
# Tombstones have done their duty after two days. One session in sixteen looks.
case $g_nonce in
  0*) [ -z "${g_gone-}" ] || find "$g_gone" -type f -mtime +2 -exec rm -f {} + 2>/dev/null ;;
esac
exit 0
