# shellcheck shell=sh
# shellcheck disable=SC2154,SC2030,SC2031  # g_nonce is set by the line that geto puts in front
#
# The host's side of geto: all that runs on a host beside the task. docs/design.md specifies what
# it reads and writes. purpose.rs says which of these files make a program; this one is the first and
# main.sh the last. geto removes comments and indentation before it sends this text, so no
# here-documents, and nothing that depends on the column.
#
# Rules of these files, each learned from a shell that differs (the matrix in the tests has six):
# - Only what POSIX has, plus `[ -O ]`; tools that may be missing are looked for.
# - Each variable begins with g_: a variable of the login environment would keep its export flag,
#   and the task would see the changed value.
# - `echo` is for words of our own; what may hold a backslash goes through printf.
# - A file is made by `true >FILE`: a redirection of `:` that fails ends dash.
# - Bytes of a task never pass through a variable (NUL would be lost), names never through a word
#   that is split.
# - The process that reads the channel sets no traps (dash and ash would tear a line apart).
# - What the task is a child of stays in the foreground: everything started with `&` ignores INT,
#   and dash, ash and ksh93 can't undo that for the task.
# - A fork costs 0.3 ms, a program 1 ms: count them.

# Only the loader runs this. Another shell, which start-up files have become, would read it as commands.
[ "$0" = geto ] || exit 126
# File descriptors: 3 is the channel's input, 4 its output, 7 the mutex, 8 the ticket of a running
# task, 9 its events.
exec 3<&0 4>&1 7</dev/null 8</dev/null </dev/null >/dev/null
# The second line of this file; to ask the shell takes a fork.
{ read -r g_rest && read -r g_rest g_umask; } 2>/dev/null </proc/self/status
[ "${g_rest-}" = Umask: ] || g_umask=$(umask)
umask 077
# Lengths are counted in bytes, and the output of `ls` and error texts are those of the standard.
g_locale=${LC_ALL+=$LC_ALL}
LC_ALL=C
export LC_ALL
unset TAR_OPTIONS
g_nl='
'
g_tab='	'
g_ticket='' g_tells='' g_reaps='' g_claimer='' g_ticker=''
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

# myself: sets g_pid to the id of the process that runs this, also in a subshell, and g_began to when
# it began.
myself() {
  g_began=-
  if [ -n "$g_proc" ]; then
    parent_of self
    g_pid=${g_stat%% *}
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

# parent_of ID: sets g_parent and g_began; false when the process is dead.
parent_of() {
  g_stat=
  { read -r g_stat; while read -r g_more; do g_stat="$g_stat $g_more"; done; } <"/proc/$1/stat" || return
  # The name may hold anything; what follows its last parenthesis does not. dash takes the square of the
  # length to cut off the most at once: 0.4 ms.
  g_fields=${g_stat#*\)}
  while :; do
    case $g_fields in
      *\)*) g_fields=${g_fields#*\)} ;;
      *) break ;;
    esac
  done
  # shellcheck disable=SC2086  # fields
  set -- $g_fields
  [ $# -gt 19 ] && [ "$1" != Z ] && [ "$1" != X ] || return
  g_parent=$2
  g_began=${20}
}

# began PID: sets g_began to when the process began; false when it is dead.
began() {
  if [ -n "$g_proc" ]; then
    parent_of "$1" 2>/dev/null
  else
    g_began=-
    ps -p "$1" >/dev/null 2>&1
  fi
}

# reckon A OP B: sets g_sum. mksh reckons in 32 bits, and lengths may be beyond.
# shellcheck disable=SC1102,SC2086  # an operator is no number
reckon() { g_sum=$(($1 $2 $3)); }
# shellcheck disable=SC2003
[ $((2147483647 + 1)) -gt 0 ] || reckon() { g_sum=$(expr "$@"); }

# copy_file N: copies N bytes of the file that is stdin, from where its descriptor stands. One read of
# a file is never short, and dd takes not one byte more than it is told, so that the next call goes
# on exactly there.
copy_file() {
  reckon "$1" / 65536
  [ "$g_sum" = 0 ] || dd bs=65536 count="$g_sum" 2>/dev/null || return
  reckon "$1" % 65536
  [ "$g_sum" = 0 ] || dd bs="$g_sum" count=1 2>/dev/null
}

# connection_unit: sets g_unit to the unit of systemd that this process is in, when there is one for each
# connection (of a socket: `sshd@0-HERE-THERE.service`) and it ends all that is in it. Looked for once.
# `systemctl` has no option for how long it waits.
connection_unit() {
  [ -z "${g_unit+x}" ] || return 0
  g_unit=
  while IFS=: read -r g_at g_at g_path; do
    case $g_at/${g_path##*/} in
      /*@[0-9]*-*-*.service | name=systemd/*@[0-9]*-*-*.service) g_unit=${g_path##*/} ;;
    esac
  done <"$g_proc/self/cgroup"
  [ -z "$g_unit" ] || case $(SYSTEMD_BUS_TIMEOUT=5 systemctl show --property=KillMode "$g_unit") in
    *=process | *=none) g_unit= ;;
  esac
} 2>/dev/null

# has_manager: whether systemd has a manager for this user that stays when nobody is logged in; sets g_bus
# to how it is asked. In a unit of a connection nobody has said where: there was no login.
has_manager() {
  g_bus=--user g_runtime=${XDG_RUNTIME_DIR-}
  [ -z "${g_unit-}" ] || case $(id -u) in
    0)
      g_bus=--system
      command -v busctl >/dev/null 2>&1
      return
      ;;
    *) [ -n "$g_runtime" ] || g_runtime=/run/user/$(id -u) ;;
  esac
  [ -S "$g_runtime/bus" ] && [ -f "/var/lib/systemd/linger/${USER-}" ]
}

# ask_logind PROPERTY...: prints what logind does, a line each: it knows what it was built with, where its
# configuration says nothing.
ask_logind() {
  g_rest=org.freedesktop.login1
  busctl --timeout=5 get-property $g_rest /org/freedesktop/login1 $g_rest.Manager "$@"
} 2>/dev/null

# free_disk: sets g_free to how many KiB are free at the work path: the number before the percentage.
# The names at both ends of the line may have blanks.
free_disk() {
  g_found=$(df -Pk "$g_work" 2>/dev/null)
  g_free=
  for g_rest in ${g_found##*"$g_nl"}; do
    case $g_rest in *%) break ;; esac
    g_free=$g_rest
  done
}

# drop_ticket: what a process does that is neither supervisor nor task, so that it holds nothing when
# both are gone. A redirection at its call would not do: shells keep a copy to go back to.
drop_ticket() {
  exec 8</dev/null
}

# release: gives back what the ticket holds, and the place in the queue.
release() {
  [ -n "$g_ticket" ] || return 0
  # Another has the number by now when the task was sent anew, and this ticket taken away.
  if { IFS= read -r g_rest <"$g_ticket"; } 2>/dev/null && [ "$g_rest" = "$g_drawn" ]; then
    # Whoever looks before it is gone sees that, and so does who has it open for longer.
    echo released >>"$g_ticket"
    rm -f "$g_ticket"
  fi
  exec 8</dev/null
  g_ticket='' g_held=''
  cd / || exit
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
  # What tells the processes of this start of this machine, or container, from all others.
  g_began=-
  [ -z "$g_proc" ] || began 1 || g_began=-
  g_place=${g_boot:--}:$g_began
  [ -n "$g_proc" ] && began $$ || g_began=-
  g_self=$$:$g_began
  g_tasks=$g_work/$g_machine/tasks
  g_gone=$g_work/$g_machine/gone
  g_parts=$g_work/$g_machine/parts
  g_cache=$g_work/$g_machine/cache
  g_pids=$g_work/$g_machine/pids
  if ! [ -d "$g_tasks" ] || ! [ -d "$g_gone" ] || ! [ -d "$g_pids" ]; then
    g_error=$(mkdir -p "$g_tasks" "$g_gone" "$g_pids" 2>&1) || {
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
  clock
  say boot "$g_boot $g_clock"
  sweep
}

# sweep: looks after the tasks of other sessions. With many at once, one look in a tenth of a second
# does for all, and where there are many tasks one in a second: each that runs costs 0.5 ms.
sweep() {
  [ -n "$g_reaps" ] || return 0
  g_rest='' g_more=''
  { read -r g_rest g_more <"$g_work/$g_machine/swept"; } 2>/dev/null
  case $g_more in
    many) [ "${g_rest%.*}" != "${g_clock%.*}" ] || return 0 ;;
    *) [ "${g_rest%?}" != "${g_clock%?}" ] || return 0 ;;
  esac
  set -- "$g_tasks"/*
  g_more=
  [ $# -lt 16 ] || g_more=many
  { echo "$g_clock $g_more" >"$g_work/$g_machine/swept"; } 2>/dev/null
  # What a session was told to remove and couldn't, or was ended over.
  for g_task do
    [ -d "$g_task" ] || continue
    if [ -e "$g_gone/${g_task##*/}" ]; then
      g_rest='' g_more=''
      { read -r g_rest g_more <"$g_gone/${g_task##*/}"; } 2>/dev/null
      # Mostly the session that wrote it is at it.
      lives "$g_rest" "$g_more" || {
        # This process may stand in the lock path.
        (remove_task)
        [ ! -e "$g_task" ] || say leftover "$g_task"
      }
    elif is_dead; then
      # Its end may take its time; nobody waits for it.
      (reap) 2>/dev/null 3<&- 4>&- &
    fi
  done
}

# take_keys KEY=VALUE...: sets what a request says of a task.
take_keys() {
  g_id='' g_globs='' g_timeout=0 g_setup='' g_interpreter='' g_option='' g_nice='' g_login=''
  g_leave='' g_bring=all g_script='' g_stdin='' g_deps='' g_attempt='' g_pipes='' g_supervisor=''
  g_name='' g_slots=0 g_gpus=0 g_max=0 g_max_load=0 g_lock='' g_slots_there='' g_gpus_said=''
  g_patience='' g_since='' g_origin='' g_spool=0 g_from_out=0 g_from_err=0 g_follow='' g_again=''
  g_large='' g_detach='' g_lease='' g_tag='' g_trees=''
  while [ $# -gt 0 ] && [ "$1" != -- ]; do
    case $1 in
      glob=*) g_globs=$g_globs${1#*=}$g_nl ;;
      tree=*) g_trees=$g_trees${1#*=}$g_nl ;;
      load=*) g_max_load=${1#*=} ;;
      have=*) g_slots_there=${1#*=} ;;
      have-gpus=*) g_gpus_said=${1#*=} ;;
      out=*) g_from_out=${1#*=} ;;
      err=*) g_from_err=${1#*=} ;;
      # The others have the names of variables. What is evaluated holds no value.
      *) eval "g_${1%%=*}=\${1#*=}" ;;
    esac
    shift
  done
}

# remove_task: removes what there is of the task, also what the task made unwritable, and its marks in the
# trees that it has used.
remove_task() {
  cd / || return
  set -- "${g_pids:?}/${g_task##*/}" "$g_task"
  [ ! -e "$g_task/trees" ] || while read -r g_rest; do
    set -- "$g_cache/$g_rest/in.${g_task##*/}" "$@"
  done <"$g_task/trees"
  remove_tree "$@"
}

# remove_tree PATH...: removes these and all below, also in directories that are closed. Files are not
# touched before: others may have them under names of their own.
remove_tree() {
  rm -rf "$@" && return
  find "$@" -type d -exec chmod u+rwx {} +
  rm -rf "$@" && return
  # In one that could not be looked into there may be others.
  find "$@" -type d -exec chmod u+rwx {} \;
  rm -rf "$@"
} 2>/dev/null

# is_ours: whether no other session has been given the task that this one claimed, and it has not been
# started.
is_ours() {
  [ ! -e "$g_pids/$g_id" ] || return
  g_rest=
  { read -r g_rest <"$g_task/claim"; } 2>/dev/null
  [ "${g_rest:-$g_claim}" = "$g_claim" ]
}

# give_up KIND TEXT: the claimed task won't be started.
give_up() {
  release
  [ -z "$g_task" ] || ! is_ours || remove_task
  fail "$1" "$2"
}

# is_taken: whether somebody has the right to start the task, or had it.
is_taken() {
  [ -e "$g_task/supervisor" ] || [ -e "$g_pids/${g_task##*/}" ]
}

# request remove ID [unseen]: the results are home; forgets the task, but not that there was one.
# request remove ID early: keeps the task from being started, unless it was.
request_remove() {
  g_task=$g_tasks/$1
  if [ "${2-}" = early ] && is_taken; then
    fail remove "the task was started"
    return
  elif [ -e "$g_task/supervisor" ] && ! has_ended && supervisor_lives; then
    # Nobody here can tell a process of another container from one that is gone.
    case $g_rest/${2-} in
      "$g_place"/*) g_more=remove ;;
      */) g_more=unseen ;;
      *) g_more= ;;
    esac
    [ -z "$g_more" ] || {
      fail "$g_more" "the task still runs"
      return
    }
  fi
  # On a full disk there is room for the tombstone when the files are gone.
  { echo "$g_place $g_self" >"$g_gone/$1"; } 2>/dev/null || [ -e "$g_gone/$1" ] || {
    rm -rf "$g_task/dir"
    true >"$g_gone/$1"
  }
  # Who was about to start it has seen the tombstone, or is seen here.
  if [ "${2-}" = early ] && is_taken; then
    rm -f "$g_gone/$1"
    fail remove "the task was started"
    return
  fi
  remove_task
  if [ -e "$g_task" ]; then
    fail remove "$g_task: could not be removed"
  else
    say removed "$1"
  fi
}
