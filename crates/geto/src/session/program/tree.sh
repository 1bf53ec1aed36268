# shellcheck shell=sh
#
# All processes of a task, and their end.

# stop WHY [EVENT]: ends the task from outside, and writes EVENT once another session would go on with it if this
# one were killed. The first reason stands, but who gave it may have been ended
# before it ended the task.
stop() {
  ! has_ended || return 0
  set -C
  { echo "$1" >"$g_task/why"; } 2>/dev/null || g_rest=
  set +C
  # Also for an origin that is gone, which a message would end this process over.
  [ -z "${2-}" ] || (echo "$2")
  until [ -s "$g_pids/$g_id" ]; do
    # Who waits for a slot looks for the reason.
    [ -d "$g_task" ] && [ ! -e "$g_task/waiting" ] && supervisor_lives || return
    sleep 0.05 || sleep 1
  done
  task_pid
  end_tree 10
}

# bury_task: keeps a late request from running a task again that has removed its own directory.
bury_task() {
  [ -d "$g_task" ] || true >"$g_gone/$g_id"
}

# task_pid: sets g_pid to the number of the task's first process; it may be another one's by now.
task_pid() {
  g_pid=''
  { read -r g_pid g_last <"$g_pids/$g_id"; } 2>/dev/null
  [ -z "$g_pid" ] || [ -z "$g_proc" ] || ! began "$g_pid" || [ "$g_began" = "$g_last" ] || g_pid=none
}

# end_tree SECONDS: ends all processes of the task whose first one is g_pid: TERM, and KILL when
# SECONDS have passed. Leaves in g_left the ids of those that are still there.
end_tree() {
  look_at_all
  # Mostly nothing is left of a task that has ended by itself.
  [ "$1" != 2 ] || look_at_new
  find_tree
  [ -n "$g_left" ] || return
  look_at_all
  # Stopped first, so that none of them makes a new one between the look and the signal.
  g_seen=
  while [ "$g_left" != "$g_seen" ]; do
    g_seen=$g_left
    signal STOP
    find_tree
  done
  signal TERM
  signal CONT
  clock
  g_until=$((${g_clock%%.*} + $1))
  while is_any_left; do
    clock
    [ "${g_clock%%.*}" -le "$g_until" ] || break
    sleep 0.1 || sleep 1
  done
  find_tree
  [ -n "$g_left" ] || return
  # A few rounds: a process may have been made by one that was killed a moment later.
  for g_ticks in 1 2 3 4 5; do
    signal KILL
    sleep 0.02 || sleep 1
    find_tree
    [ -n "$g_left" ] || return
  done
}

# look_at_all: lets find_tree look at every process.
look_at_all() {
  g_look_files='/proc/[0-9]*/environ /proc/[0-9]*/stat'
  g_look_links='/proc/[0-9]*/cwd /proc/[0-9]*/fd/*'
}

# look_at_new: lets find_tree look only at what came after the task's first process and lost its parent,
# when the numbers of processes can tell: two seconds are too short for the kernel to give out all of
# them. To look at every open file of a machine takes long, and longer the more tasks run there.
look_at_new() {
  [ -n "$g_proc" ] && [ $((${g_end%.*} - ${g_start%.*})) -lt 2 ] || return
  read -r g_rest g_rest g_rest g_rest g_last <"$g_proc/loadavg" || return
  case $g_last in '' | *[!0-9]*) return ;; esac
  [ "$g_last" -ge "$g_pid" ] && [ $((g_last - g_pid)) -lt 4096 ] && find_orphans || return
  g_look_files='' g_look_links=''
  for g_rest in $g_orphans; do
    g_look_files="$g_look_files /proc/$g_rest/environ /proc/$g_rest/stat"
    g_look_links="$g_look_links /proc/$g_rest/cwd /proc/$g_rest/fd/*"
  done
} 2>/dev/null

# find_orphans: sets g_orphans to the processes that came after the task's first one and lost their
# parent, and all below them: what is left of the task is among these. Whoever has no parent any more
# becomes a child of the first process, or of an ancestor that asked for it (prctl(2),
# PR_SET_CHILD_SUBREAPER); servers of SSH do not. False where the kernel has no lists of children.
find_orphans() {
  [ ! -e "$g_task/joined" ] || return
  g_orphans='' g_reapers=''
  [ $((g_last - g_pid)) -gt 256 ] || has_orphans || return 0
  find_reapers || return
  # A list may lack one when another ends while it is read (proc_tid_children(5)): not twice.
  for g_rest in $g_reapers $g_reapers; do
    [ -r "/proc/$g_rest/task/$g_rest/children" ] || return
    children_of "$g_rest"
    for g_child in $g_children; do
      case "$g_orphans " in *" $g_child "*) continue ;; esac
      if [ "$g_child" -gt "$g_pid" ] && [ "$g_child" -le "$g_last" ] && parent_of "$g_child"; then
        g_orphans="$g_orphans $g_child"
      fi
    done
  done
  g_children=$g_orphans
  while [ -n "$g_children" ]; do
    # shellcheck disable=SC2086  # a list of numbers
    children_of $g_children
    g_orphans=$g_orphans$g_children
  done
}

# has_orphans: false when there are none. Where few numbers have been given out since the task began, most
# of them are of processes that have ended, and no list is read.
has_orphans() {
  g_child=$g_pid
  while [ "$g_child" -lt "$g_last" ]; do
    g_child=$((g_child + 1))
    if [ -d "/proc/$g_child" ] && parent_of "$g_child"; then
      g_orphan_of=$g_parent
      find_reapers || return 0
      case " $g_reapers " in *" $g_orphan_of "*) return 0 ;; esac
    fi
  done
  false
}

# find_reapers: sets g_reapers, unless it is set, to those to whom a process falls that loses its parent.
find_reapers() {
  [ -z "$g_reapers" ] || return 0
  g_found=1 g_rest=$PPID
  while [ "$g_rest" -gt 1 ]; do
    read -r g_name_there <"/proc/$g_rest/comm" || return
    case $g_name_there in sshd* | dropbear*) ;; *) g_found="$g_found $g_rest" ;; esac
    parent_of "$g_rest" || return
    g_rest=$g_parent
  done
  g_reapers=$g_found
}

# children_of ID...: sets g_children to the children of these processes.
children_of() {
  g_children=
  while [ $# -gt 0 ]; do
    for g_more in "/proc/$1/task"/*/children; do
      # The list has no line feed at its end.
      g_child=
      { read -r g_child || :; } <"$g_more"
      g_children="$g_children${g_child:+ $g_child}"
    done
    shift
  done
}

# is_any_left: whether a process of the task lives. A look at all processes takes its time on a busy
# host: as long as one lives that is known, there is none.
is_any_left() {
  [ -z "$g_proc" ] || for g_rest in $g_left; do
    ! parent_of "$g_rest" || return 0
  done
  find_tree
  [ -n "$g_left" ]
} 2>/dev/null

# signal NAME: sends a signal to each process of g_left.
signal() {
  for g_rest in $g_left; do
    kill -"$1" "$g_rest" 2>/dev/null
  done
}

# find_tree: sets g_left to the living processes of the task: its group and session, those with
# its id in their environment, those whose directory or an open file is where the script runs, or who
# write to its output, and all descendants of these. Sessions of geto only read what stands beside
# that, and may do so at any time: two that found each other would stop each other for ever.
find_tree() {
  g_left=
  find_sessions
  [ -n "$g_proc" ] || {
    find_tree_ps
    return
  }
  [ -n "$g_look_files" ] || return
  # -z: the environment is separated by NUL, and a process may have a line feed in its name.
  # shellcheck disable=SC2010,SC2086  # links to look at, not names; patterns
  g_found=$(
    grep -lszE -e "^GETO_TASK_ID=$g_id\$" -e "[)] [^ZX] [0-9]+ ($g_pid|[0-9]+ $g_pid) " \
      $g_look_files
    ls -ld $g_look_links | grep -F -e "-> $g_task/" \
      | grep -e "/$g_id/dir" -e "/$g_id/stdin" -e "^l.w.*/$g_id/out\$" -e "^l.w.*/$g_id/err\$" -e '[.]pipe' \
      | grep -o '/proc/[0-9]*/'
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

# find_sessions: sets g_sessions to the sessions that tell of the task. They are not of it, though they
# have its output open.
find_sessions() {
  g_sessions=" $$ "
  [ -z "$g_claimer" ] || ! lives "$g_claim_place" "$g_claimer" || g_sessions="$g_sessions${g_claimer%:*} "
  [ -e "$g_task/attached" ] || return 0
  while read -r g_rest; do
    ! lives "$g_place" "$g_rest" || g_sessions="$g_sessions${g_rest%:*} "
  done <"$g_task/attached"
}

# add_process ID: adds a process to g_left, unless it is there, is dead, or belongs to the session:
# the follower has the task's output open, too.
add_process() {
  case " $g_left$g_sessions" in *" $1 "*) return ;; esac
  parent_of "$1" || return
  while [ "$g_parent" -gt 1 ] && [ "$g_parent" != "$g_pid" ] && [ "$1" != "$g_pid" ]; do
    case "$g_sessions$g_supervisor " in *" $g_parent "*) return ;; esac
    parent_of "$g_parent" || break
  done
  g_left="$g_left $1"
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
