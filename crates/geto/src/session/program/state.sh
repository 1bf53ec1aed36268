# shellcheck shell=sh
#
# How far a task has come, as its directory tells whoever comes later.

g_reaps=yes

# has_ended: whether the outcome is whole; sets g_end to it.
has_ended() {
  g_end=
  { read -r g_end <"$g_task/outcome"; } 2>/dev/null
  case $g_end in *' .') ;; *) false ;; esac
}

# lives PLACE PID:BEGAN: whether the process that wrote this of itself is there.
lives() {
  if [ "$1" != "$g_place" ]; then
    # Nothing is left of an earlier start of this machine; what runs in another container can't be
    # seen from here.
    [ "${1%:*}" = "${g_boot:--}" ]
  elif [ -n "$g_proc" ]; then
    began "${2%:*}" && [ "$g_began" = "${2#*:}" ]
  else
    kill -0 "${2%:*}" 2>/dev/null
  fi
}

# is_old PATH: whether a minute has passed since it was made, or a day where find can't tell. Whoever is to
# write its first line has done so by then, or does not live; who is late finds that he may not start.
is_old() {
  [ -n "$(find "$1" -prune -mmin +1 2>/dev/null || find "$1" -prune -mtime +0 2>/dev/null)" ]
}

supervisor_lives() {
  g_rest='' g_more=''
  { read -r g_rest g_more <"$g_task/supervisor"; } 2>/dev/null
  g_supervisor=${g_more%:*}
  [ -n "$g_more" ] || {
    # It is being written, or could not be.
    ! is_old "$g_task/supervisor"
    return
  }
  lives "$g_rest" "$g_more"
}

# claimer_lives: whether the session that claimed the task is there; sets g_claimer.
claimer_lives() {
  g_claim_place='' g_claimer=''
  { read -r g_rest g_claim_place g_claimer <"$g_task/claim"; } 2>/dev/null
  [ -n "$g_claimer" ] || {
    # Somebody is about to claim it, or could not.
    ! is_old "$g_task"
    return
  }
  lives "$g_claim_place" "$g_claimer"
}

# is_dead: whether nobody is left who would bring the task to its end.
is_dead() {
  if [ -e "$g_task/supervisor" ]; then
    # It may end between two looks.
    ! supervisor_lives && ! has_ended
  else
    ! claimer_lives
  fi
}

# look: sets g_state to how far the task has come.
look() {
  if [ -e "$g_gone/$g_id" ]; then
    g_state=gone
    return
  elif ! [ -d "$g_task" ]; then
    # One that has removed its own directory may still run.
    g_state=none
    [ ! -e "$g_pids/$g_id" ] || g_state=gone
  elif has_ended; then
    g_state=ended
  elif is_dead; then
    g_state=dead
  elif [ ! -e "$g_task/supervisor" ]; then
    g_state=sending
  elif [ -s "$g_task/started" ]; then
    g_state=running
  else
    g_state=waiting
  fi
  # Another session may have ended it between two looks.
  ! has_ended || g_state=ended
}

# find_ending: sets g_ending to what ends the processes that this session leaves: `logind`, the unit of its
# connection, or nothing. Looked for once.
find_ending() {
  [ -z "${g_ending+x}" ] || return 0
  connection_unit
  g_ending=$g_unit
  [ -n "$g_ending" ] || ! logind_kills || g_ending=logind
}

# logind_kills: whether logind ends what a session of this user leaves. Where it can't be asked, every file
# is taken for one that counts: `geto hosts --check` knows better, and asks for more.
logind_kills() {
  [ -n "${XDG_SESSION_ID-}" ] && [ "${USER-}" != root ] || return
  g_rest=$(ask_logind KillUserProcesses KillExcludeUsers KillOnlyUsers)
  case $g_rest in
    *"$g_nl"as*"\"${USER-}\""*"$g_nl"as*) false ;;
    'b true'*"$g_nl"'as 0') ;;
    b*"$g_nl"'as 0') false ;;
    b*"\"${USER-}\""*) ;;
    b*) false ;;
    *)
      grep -qsiE '^ *KillUserProcesses *= *(1|y|t|on)' /etc/systemd/logind.conf \
        /etc/systemd/logind.conf.d/* /run/systemd/logind.conf.d/* /usr/lib/systemd/logind.conf.d/*
      ;;
  esac
}

# reap: ends what is left of a task whose supervisor is gone, and writes down that its end is not
# known. Of a task that was not started nothing stays.
reap() {
  g_id=${g_task##*/} g_why=reboot g_left='' g_rest='' g_pid=''
  # One that is being removed looks as if nobody had ended it.
  [ ! -e "$g_gone/$g_id" ] || return
  # Where there is no supervisor yet, one must not come while the task is removed.
  set -C
  [ -e "$g_task/supervisor" ] || echo reaped - >"$g_task/supervisor" || {
    set +C
    return
  }
  set +C
  { read -r g_rest g_more <"$g_task/supervisor"; } 2>/dev/null
  if [ "${g_rest%:*}" = "${g_boot:--}" ]; then
    g_why=killed
    task_pid
    # The session that started it tells of its end.
    claimer_lives || [ -e "$g_task/scope" ] || {
      find_ending
      case $g_ending in
        '') ;;
        logind) g_why=session ;;
        *) g_why=unit ;;
      esac
    }
    g_supervisor=0
    # Without /proc nobody knows whose the number is by now.
    [ -z "$g_pid" ] || [ -z "$g_proc" ] || end_tree 10
    name_left
    true >"$g_task/over"
  fi
  # It starts no more.
  set -C
  echo reaped >"$g_task/started"
  set +C
  # Another session may have been faster.
  { read -r g_start g_more <"$g_task/started"; } 2>/dev/null || g_start=reaped
  if [ "$g_start" = reaped ]; then
    remove_task
    return
  fi
  [ "$g_why" = reboot ] || ! { read -r g_rest <"$g_task/why"; } 2>/dev/null || g_why=$g_rest
  clock
  [ "$g_why" != reboot ] || g_clock=$g_start
  ! has_ended || return 0
  case $g_why in reboot | killed | session | unit) g_why=lost-$g_why ;; esac
  printf 'status=0 why=%s started=yes start=%s end=%s cpu= full= left=%s .\n' \
    "$g_why" "$g_start" "$g_clock" "$g_left" 1<>"$g_task/outcome"
} 2>/dev/null
