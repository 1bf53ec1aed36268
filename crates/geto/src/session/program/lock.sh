# shellcheck shell=sh
#
# The lock path, which all users of this machine may share, and the mutex in it.

# open_lock: makes the lock path what it should be and goes into it. From here on tickets are
# relative names: a path that is replaced meanwhile leads nowhere else.
open_lock() {
  # shellcheck disable=SC2088  # the tilde comes from geto.ini and means the home here
  case $g_lock in '~/'*) g_lock=${HOME-}/${g_lock#??} ;; esac
  case $g_lock in
    /*) ;;
    *)
      give_up lock "$g_lock: not an absolute path, and not below the home directory"
      return 1
      ;;
  esac
  # Another session may be between making a directory and opening it to all.
  for g_try in 1 2 3 4 5 6 7 8 9 0; do
    if [ -L "$g_lock" ]; then
      give_up lock "$g_lock: is a symbolic link, which could lead anywhere"
      return 1
    fi
    # Each machine has its own, also where a home is shared.
    if cd -P "$g_lock/$g_machine" 2>/dev/null; then
      check_lock && return
      [ "$g_try" = 0 ] || sleep 0.05 || sleep 1
    else
      g_error=$(make_lock 2>&1)
    fi
  done
  cd / || exit
  give_up lock "${g_error:-$g_lock: not a directory that can be entered}"
  return 1
}

# make_lock: makes the directories. Some shells have no other way to a sticky one than mkdir -m.
make_lock() {
  umask 0
  [ -d "$g_lock" ] || mkdir -p "${g_lock%/*}/" && { [ -d "$g_lock" ] || mkdir -m 1777 "$g_lock"; } \
    && { [ -d "$g_lock/$g_machine" ] || mkdir -m 1777 "$g_lock/$g_machine"; }
}

# check_lock: false, with the reason in g_error, when somebody could put something else in the place
# of the working directory, or change another user's tickets.
check_lock() {
  # shellcheck disable=SC2046,SC2012  # three lines of nine fields, in this order
  set -- $(ls -ldn . .. ../.. 2>/dev/null)
  [ $# -eq 27 ] || {
    g_error="$g_lock: could not be looked at"
    return 1
  }
  if ! is_safe . "$1" "$3" || ! is_safe .. "${10}" "${12}"; then
    g_error="$g_lock: not safe to share: it is to be mode 1777 (it is ${10}, inside $1), or the user's own and closed to others"
    return 1
  fi
  # The owner of the place above could replace it all.
  if ! is_safe ../.. "${19}" "${21}" || ! { [ "${21}" = 0 ] || [ -O ../.. ]; }; then
    g_error="$g_lock: not safe to share: its parent is neither sticky nor closed to others, or somebody's own (it is ${19})"
    return 1
  fi
  [ -w . ] || {
    g_error="$g_lock: can't be written to"
    return 1
  }
}

# is_safe PATH MODE OWNER: whether nobody can rename what others have in that directory.
is_safe() {
  case $2 in
    d????????[tT]*) ;;
    # Closed to others; then its owner is all there is to trust.
    d????-??-*) [ "$3" = 0 ] || [ -O "$1" ] ;;
    *) false ;;
  esac
}

# lock_kind: sets g_flock to how the mutex is made here: all who share a lock path must do it in the
# same way, whatever programs each of them finds. False, with the reason in g_error.
lock_kind() {
  g_flock='' g_try=0
  until { read -r g_flock <kind; } 2>/dev/null && [ -n "$g_flock" ]; do
    g_flock=links
    # It says no on file systems that have no such locks.
    command -v flock >/dev/null 2>&1 && exec 7<. && flock 7 7<&7 2>/dev/null && g_flock=flock
    exec 7</dev/null
    set -C
    { (umask 022 && echo "$g_flock" >kind); } 2>/dev/null || sleep 0.02 || sleep 1
    set +C
    g_try=$((g_try + 1))
    [ "$g_try" -lt 50 ] || break
  done
  case $g_flock in
    flock)
      command -v flock >/dev/null 2>&1 || {
        g_error="flock: not found, and others count with it in $g_lock"
        return 1
      }
      ;;
    links) ;;
    *)
      g_error="$g_lock: the file \`kind\` in it can't be written or read"
      return 1
      ;;
  esac
  # What tells a process from all others that ever were on this machine.
  g_space=-
  if [ "$g_flock" = links ] && [ -n "$g_proc" ]; then
    g_space=$(ls -l /proc/self/ns/pid 2>/dev/null)
    g_space=${g_space##* }
  fi
  [ -n "$g_space" ] || g_space=-
}

# take_mutex: nobody else decides until leave_mutex. The working directory is the lock's.
take_mutex() {
  case $g_flock in
    flock) exec 7<. && flock 7 7<&7 ;;
    links) take_link ;;
  esac
}

leave_mutex() {
  case $g_flock in
    # Closing releases.
    flock) exec 7</dev/null ;;
    links) echo released >>"$g_link" ;;
  esac
}

# take_link: the mutex where there is no flock: mutex.N belongs to who made it, and who sees it
# released or its maker dead makes mutex.N+1. A hard link appears with its content, so that nobody
# ever sees one without an owner. The highest is never removed, so numbers only grow.
take_link() {
  g_mine=own.$g_self
  umask 022
  { printf '%s %s %s\n' "${g_boot:--}" "$g_space" "$g_self" >"$g_mine"; } 2>/dev/null || g_mine=
  umask 077
  [ -n "$g_mine" ] || return
  while :; do
    g_last=mutex.00000000 g_own=
    for g_link in mutex.*; do
      # Own ones that are no longer the highest have done their duty.
      [ "$g_last" = "$g_link" ] || [ ! -O "$g_last" ] || g_own="$g_own $g_last"
      g_last=$g_link
    done
    case $g_last in *[0-9]) ;; *) g_last=mutex.00000000 ;; esac
    if [ -f "$g_last" ] && [ ! -L "$g_last" ]; then
      g_t_state='' g_t_boot=''
      { read -r g_t_boot g_t_space g_t_pids && read -r g_t_state; } 2>/dev/null <"$g_last"
      # One that is gone is no longer the highest; one that can't be read is not known to be free.
      if [ -z "$g_t_boot" ] || { [ "$g_t_state" != released ] && ticket_lives; }; then
        sleep 0.02 || sleep 1
        continue
      fi
    fi
    g_link=${g_last#mutex.}
    g_link=$((1$g_link + 1))
    g_link=mutex.${g_link#1}
    ln "$g_mine" "$g_link" 2>/dev/null || continue
    # Somebody who looked long ago may come back when higher ones have come and gone.
    for g_last in mutex.*; do :; done
    [ "$g_last" = "$g_link" ] && break
    rm -f "$g_link"
  done
  # The content of a link is that of the file, which must not be written to twice.
  # shellcheck disable=SC2086  # names of our own
  rm -f "$g_mine" $g_own
}
