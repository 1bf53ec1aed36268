# shellcheck shell=sh
#
# Slots: who may run a task on this machine, counted over all users and origins that share a lock
# path. docs/design.md specifies the files.
#
# Whoever wants to run a task draws a ticket: a file of their own in a directory that all may write
# to. All decisions are made under one mutex, by looking at all tickets: those that are held count,
# those that wait come in the order of their numbers, and those of the dead are nothing. So there is
# no lock that somebody would have to delete.

# read_ticket FILE: sets g_t_*; false when it is none. It may be any user's: nothing in it is
# trusted to be what it should.
read_ticket() {
  g_t_state=waiting g_t_held='' g_t_held_gpus='' g_t_task=''
  [ -f "$1" ] && [ ! -L "$1" ] || return
  g_lines=0
  {
    read -r g_t_slots g_t_gpus g_t_max g_t_load g_t_boot g_t_space g_t_pids \
      && IFS= read -r g_t_name || return
    while [ "$g_lines" -lt 16 ] && read -r g_rest g_more g_last; do
      g_lines=$((g_lines + 1))
      case $g_rest in
        held) g_t_state=held g_t_held=$g_more g_t_held_gpus=$g_last ;;
        holders) g_t_pids="$g_more $g_last" ;;
        task) g_t_task=$g_more ;;
        released) g_t_state=released ;;
      esac
    done
  } 2>/dev/null <"$1"
  case $g_t_slots$g_t_gpus$g_t_max$g_t_load in '' | *[!0-9]*) return 1 ;; esac
  case "$g_t_slots $g_t_gpus $g_t_max $g_t_load " in *[0-9][0-9][0-9][0-9][0-9][0-9][0-9]*) return 1 ;; esac
  case $g_t_held$g_t_held_gpus in *[!0-9,-]*) return 1 ;; esac
}

# ticket_lives [FILE]: whether anybody is left of those to whom g_t_* belongs.
ticket_lives() {
  [ "$g_t_boot" = "${g_boot:--}" ] || return
  for g_rest in $g_t_pids; do
    case $g_rest in *[!0-9:-]*) continue ;; esac
    began "${g_rest%%:*}" && [ "$g_began" = "${g_rest#*:}" ] && return
  done
  if [ "$g_flock" = flock ]; then
    # Processes that can't be seen, or those that a task has left, still have it open.
    [ -n "${1-}" ] && ! flock -n -s 6 6<"$1" 2>/dev/null
  else
    [ "$g_t_space" != "$g_space" ] || { [ -n "$g_proc" ] && [ ! -r /proc/1/stat ]; }
  fi
}

# weigh: looks at all tickets. Sets what is used: g_used and g_used_gpus (how many), g_taken and
# g_taken_gpus (which), g_names (of those who run, a line each), and g_queue (who waits).
weigh() {
  g_used=0 g_used_gpus=0 g_taken=' ' g_taken_gpus=' ' g_names='' g_queue='' g_dead=''
  for g_file in t.*; do
    [ "$g_file" != "$g_ticket" ] || {
      g_queue="$g_queue $g_file"
      continue
    }
    if ! read_ticket "$g_file" || [ "$g_t_state" = released ] || ! ticket_lives "$g_file"; then
      [ ! -O "$g_file" ] || g_dead="$g_dead $g_file"
      continue
    fi
    if [ "$g_t_state" = waiting ]; then
      g_queue="$g_queue $g_file"
      continue
    fi
    g_used=$((g_used + g_t_slots))
    g_used_gpus=$((g_used_gpus + g_t_gpus))
    g_names=$g_names$g_t_name$g_nl
    IFS=,
    for g_rest in $g_t_held; do
      g_taken="$g_taken$g_rest "
    done
    for g_rest in $g_t_held_gpus; do
      g_taken_gpus="$g_taken_gpus$g_rest "
    done
    IFS=" $g_tab$g_nl"
  done
}

# count_name NAME: sets g_count to how often it stands in g_names.
count_name() {
  g_count=0
  g_rest=$g_nl$g_names
  while :; do
    case $g_rest in
      *"$g_nl$1$g_nl"*) ;;
      *) return ;;
    esac
    g_count=$((g_count + 1))
    g_rest=$g_nl${g_rest#*"$g_nl$1$g_nl"}
  done
}

# load_is_high LIMIT: whether the load per processor is above LIMIT hundredths. 0 is no limit.
load_is_high() {
  [ "$1" != 0 ] && [ -n "$g_proc" ] && read -r g_rest g_more <"$g_proc/loadavg" || return
  # 0.07 is 7 hundredths; a number that begins with 0 would be octal.
  g_rest=${g_rest%.*}${g_rest#*.}
  while :; do
    case $g_rest in 0?*) g_rest=${g_rest#0} ;; *) break ;; esac
  done
  processors
  [ "$g_rest" -gt $(($1 * g_processors)) ]
}

# processors: sets g_processors to how many are online.
processors() {
  [ -z "${g_processors-}" ] || return 0
  g_processors=$(getconf _NPROCESSORS_ONLN 2>/dev/null)
  case $g_processors in '' | *[!0-9]* | 0) g_processors=1 ;; esac
}

# gpus: sets g_gpus_there to how many there are, as their own tools say.
gpus() {
  g_gpus_there=$(nvidia-smi -L 2>/dev/null | grep -c '^GPU [0-9]')
  [ "${g_gpus_there:-0}" -gt 0 ] || {
    g_gpus_there=$(rocm-smi -i 2>/dev/null | grep -o '^GPU\[[0-9]*\]' | sort -u | grep -c .)
  }
}

# totals: sets g_total and g_total_gpus.
totals() {
  g_total=$g_slots_there
  [ -n "$g_total" ] || {
    processors
    g_total=$g_processors
  }
  g_total_gpus=$g_gpus_said
  [ -n "$g_total_gpus" ] || {
    g_total_gpus=0
    [ "$g_gpus" = 0 ] || {
      gpus
      g_total_gpus=$g_gpus_there
    }
  }
}

# ready_for_slots: false, with an error sent, when the task can never be let in here.
ready_for_slots() {
  open_lock || return
  lock_kind || {
    give_up lock "$g_error"
    return 1
  }
  totals
  if [ "$g_slots" -gt "$g_total" ]; then
    give_up demand "it takes $g_slots slots, and there are $g_total"
    return 1
  fi
  if [ "$g_gpus" -gt "$g_total_gpus" ]; then
    give_up demand "it takes $g_gpus GPUs, and there are $g_total_gpus"
    return 1
  fi
}

# draw_ticket: takes a place in the queue. Under the mutex.
draw_ticket() {
  for g_file in t.*; do :; done
  g_file=${g_file#t.}
  case $g_file in *[!0-9]* | ????????? | '') g_file=00000000 ;; esac
  while :; do
    g_file=$((1$g_file + 1))
    g_file=${g_file#1}
    umask 022
    set -C
    g_rest=0
    g_drawn="$g_slots $g_gpus $g_max $g_max_load ${g_boot:--} $g_space $g_self"
    { printf '%s\n%s\n' "$g_drawn" "$g_name" >"t.$g_file"; } 2>/dev/null || g_rest=1
    set +C
    umask 077
    [ "$g_rest" = 1 ] || break
    # Somebody's file that is no ticket has the number, or the disk is full.
    [ -e "t.$g_file" ] && [ ! -O "t.$g_file" ] || return
  done
  g_ticket=t.$g_file
  lock_ticket
}

# lock_ticket: this process, and who has descriptor 8 of it, holds the ticket.
lock_ticket() {
  [ "$g_flock" = links ] || { exec 8<"$g_ticket" && flock 8 8<&8; }
}

# try_ticket: lets the ticket in when there is room and nobody who came first waits for the same.
# Sets g_held and g_held_gpus; else g_wait to why: KIND USED LIMIT AHEAD. Under the mutex.
try_ticket() {
  weigh
  # shellcheck disable=SC2086  # names of our own
  [ -z "$g_dead" ] || rm -f $g_dead
  g_room=$((g_total - g_used))
  g_room_gpus=$((g_total_gpus - g_used_gpus))
  g_ahead=0 g_shut='' g_shut_gpus='' g_shut_name=''
  for g_file in $g_queue; do
    [ "$g_file" != "$g_ticket" ] || break
    read_ticket "$g_file" || continue
    g_ahead=$((g_ahead + 1))
    count_name "$g_t_name"
    if [ "$g_t_max" != 0 ] && [ "$g_count" -ge "$g_t_max" ]; then
      # It waits for its own kind, and keeps nobody else from anything.
      [ "$g_t_name" != "$g_name" ] || g_shut_name=yes
    elif load_is_high "$g_t_load"; then
      :
    elif [ "$g_t_slots" -gt "$g_room" ]; then
      # Those behind it would take what it waits for.
      g_shut=yes
    elif [ "$g_t_gpus" -gt "$g_room_gpus" ]; then
      g_shut_gpus=yes
    else
      # It has not looked again yet, and will be let in.
      g_room=$((g_room - g_t_slots))
      g_room_gpus=$((g_room_gpus - g_t_gpus))
      g_names=$g_names$g_t_name$g_nl
    fi
  done
  count_name "$g_name"
  if [ "$g_max" != 0 ] && { [ "$g_count" -ge "$g_max" ] || [ -n "$g_shut_name" ]; }; then
    g_wait="name $g_count $g_max $g_ahead"
  elif [ -n "$g_shut" ] || [ "$g_slots" -gt "$g_room" ]; then
    g_wait="slots $g_used $g_total $g_ahead"
  elif [ "$g_gpus" != 0 ] && { [ -n "$g_shut_gpus" ] || [ "$g_gpus" -gt "$g_room_gpus" ]; }; then
    g_wait="gpus $g_used_gpus $g_total_gpus $g_ahead"
  elif load_is_high "$g_max_load"; then
    g_wait="load $g_rest $((g_max_load * g_processors)) $g_ahead"
  else
    first_free 1 "$g_slots" "$g_taken"
    g_held=$g_free
    first_free 0 "$g_gpus" "$g_taken_gpus"
    g_held_gpus=$g_free
    echo "held $g_held ${g_held_gpus:--}" >>"$g_ticket"
    return
  fi
  return 1
}

# first_free FIRST COUNT TAKEN: sets g_free to the lowest numbers that nobody has, with commas.
first_free() {
  g_free='' g_rest=$1 g_more=$2
  while [ "$g_more" -gt 0 ]; do
    case $3 in
      *" $g_rest "*) ;;
      *)
        g_free=$g_free${g_free:+,}$g_rest
        g_more=$((g_more - 1))
        ;;
    esac
    g_rest=$((g_rest + 1))
  done
}

# hold_ticket: what the task's first process does before it becomes the task: the ticket is its own,
# too, so that it outlives a supervisor that is killed. Sets what the task is told of its slot.
hold_ticket() {
  began "$g_supervisor"
  g_rest=$g_supervisor:$g_began
  began "$g_pid"
  echo "holders $g_rest $g_pid:$g_began" >>"$g_ticket"
  processors
  g_rest=$((g_processors * g_slots / g_total))
  [ "$g_rest" -gt 0 ] || g_rest=1
  export "GETO_SLOT=${g_held%%,*}" "GETO_CPUS=$g_rest"
  [ "$g_gpus" != 0 ] || return 0
  # HIP counts among those that ROCR leaves over.
  first_free 0 "$g_gpus" ' '
  export "CUDA_VISIBLE_DEVICES=$g_held_gpus" "ROCR_VISIBLE_DEVICES=$g_held_gpus" \
    "HIP_VISIBLE_DEVICES=$g_free"
}

# wait_for_slot: waits until the ticket is let in; false when it is not to be. Runs where the
# supervisor will: events go to stdout.
wait_for_slot() {
  began "$g_supervisor"
  g_self=$g_supervisor:$g_began
  if ! take_mutex || ! { [ -z "$g_again" ] || drop_earlier; } || ! draw_ticket; then
    leave_mutex
    echo "error lock $g_lock: no ticket could be written"
    return 1
  fi
  g_said=''
  clock
  g_since=${g_clock%.*}
  # Who is told of the wait may be gone.
  trap '' PIPE
  g_lost=''
  while is_lost || ! try_ticket; do
    leave_mutex
    true >"$g_task/waiting"
    clock
    if [ -n "$g_patience" ] && [ $((${g_clock%.*} - g_since)) -ge "$g_patience" ]; then
      g_last_words="full $g_wait"
      release
      return 1
    fi
    # Where the task's directory is gone, nobody can say any more that the origin is.
    if [ -e "$g_task/why" ] || [ ! -d "$g_task" ] \
      || { [ -n "$g_lost" ] && [ $((${g_clock%.*} - g_lost)) -ge 5 ]; }; then
      release
      return 1
    fi
    [ "$g_wait" = "$g_said" ] || echo "waiting $g_wait"
    g_said=$g_wait
    # Who comes first looks most often.
    if [ "$g_ahead" = 0 ]; then
      sleep 0.1 || sleep 1
    elif [ "$g_ahead" -lt 8 ]; then
      sleep 0.2 || sleep 1
    else
      sleep 0.6 || sleep 1
    fi
    take_mutex
  done
  leave_mutex
  rm -f "$g_task/waiting"
  echo "slot $g_held ${g_held_gpus:--}"
  trap - PIPE
}

# drop_earlier: takes the ticket from a session in which the same task has drawn one and was not sent: its
# link is dead, and this host may not hear of that for hours. Under the mutex.
drop_earlier() {
  for g_file in t.*; do
    if [ -O "$g_file" ] && read_ticket "$g_file" && [ "$g_t_task" = "$g_id" ]; then
      # Nobody here can tell a process of another container, or without /proc, from one that has its number.
      ! { [ "$g_t_space" = "$g_space" ] && [ -n "$g_proc" ] && ticket_lives; } || kill -9 "${g_t_pids%%:*}"
      rm -f "$g_file"
    fi
  done
}

# is_lost: whether nobody is there who wants the task: its session is gone, and no other one of its
# origin has come yet, for which it keeps its place for a while. Sets g_lost to since when.
is_lost() {
  [ -e "$g_task/gone" ] || return
  while read -r g_rest; do
    ! lives "$g_place" "$g_rest" || {
      g_lost=
      return 1
    }
  done <"$g_task/attached"
  clock
  g_lost=${g_lost:-${g_clock%.*}}
}

# request ticket KEY=VALUE...: draws a ticket and says whether it is let in. It stays this session's
# until the task has run or the session ends.
request_ticket() {
  take_keys "$@"
  g_task=
  [ -n "$g_tasks" ] && ready_for_slots || return
  if take_mutex && draw_ticket; then
    echo "task $g_id" >>"$g_ticket"
    answer_ticket
  else
    leave_mutex
    fail lock "$g_lock: no ticket could be written"
  fi
}

# request try: looks once more whether the ticket is let in.
request_try() {
  take_mutex
  answer_ticket
}

answer_ticket() {
  if try_ticket; then
    leave_mutex
    say slot "$g_held ${g_held_gpus:--}"
  else
    leave_mutex
    say waiting "$g_wait"
  fi
}

# request status KEY=VALUE...: says how much is used here, for who wants to choose among hosts.
request_status() {
  take_keys "$@"
  g_task=
  [ -n "$g_tasks" ] && ready_for_slots || return
  weigh
  # shellcheck disable=SC2086  # names of our own
  set -- $g_queue
  count_name "$g_name"
  say running "$g_names"
  say load "$g_total $g_used $# $g_count $g_total_gpus $g_used_gpus"
  cd / || exit
}
