# shellcheck shell=sh
#
# A task's way home: output while it runs, files when it has ended.

# read_channel: passes a cancel on until the origin has seen the end (`ack`) or is gone. A message to
# an origin that is gone would end it by SIGPIPE.
read_channel() {
  drop_ticket
  while read -r g_rest; do
    case $g_rest in
      cancel) stop cancelled ending ;;
      'alive '*) extend_lease "${g_rest#* }" ;;
      look) echo tick ;;
      ticks)
        tick </dev/null 3<&- &
        g_ticker=$!
        ;;
      ack)
        end_ticker
        # The next request belongs to the process that is left.
        echo idle
        return
        ;;
    esac
  done
  end_ticker
  # Who waits for a slot looks for this.
  [ -n "$g_follow" ] || true >"$g_task/gone"
  echo eof
} <&3 4>&- 2>/dev/null

# extend_lease UNTIL: the origin was heard of. A line that comes late says less than what another
# session has brought.
extend_lease() {
  g_more=
  { read -r g_more <"$g_task/lease"; } 2>/dev/null
  [ "${g_more:-0}" -ge "$1" ] || echo "$1" >"$g_task/lease"
}

# lease_is_over: whether the origin was not heard of for as long as it said. What it says is the time
# of this clock, so that a line which was long on its way extends nothing.
lease_is_over() {
  [ -n "$g_lease" ] || return
  g_more=
  { read -r g_more <"$g_task/lease"; } 2>/dev/null
  # It may be being written just now.
  [ -z "$g_more" ] || g_lease=$g_more
  clock
  [ "${g_clock%%.*}" -gt "$g_lease" ]
}

# end_ticker: ends the process that says when to look, with its sleep, which others would have to look at.
end_ticker() {
  [ -n "$g_ticker" ] || return 0
  g_children=
  [ -z "$g_proc" ] || children_of "$g_ticker" 2>/dev/null
  # shellcheck disable=SC2086  # a list of numbers
  kill "$g_ticker" $g_children 2>/dev/null
  g_ticker=
}

# tick: says when to look for output, and ends a task whose lease is over. The longest wait leaves room
# within the 0.2 s that are promised.
tick() {
  drop_ticket
  # A lease is kept also when nobody reads what is said here any more.
  [ -z "$g_lease" ] || trap '' PIPE
  g_looks=0
  sleep 0.02 || sleep 1
  echo tick
  while :; do
    g_looks=$((g_looks + 1))
    if [ -n "$g_lease" ] && [ "$g_looks" -ge 7 ]; then
      g_looks=0
      ! lease_is_over || {
        stop lost-lease
        return
      }
    fi
    if [ -e "$g_task/waiting" ]; then
      sleep 1
    else
      sleep 0.15 || sleep 1
    fi
    echo tick
  done
}

# follow: copies what grows to the channel, and tells of the end. False when somebody has removed the
# task meanwhile.
follow() {
  open_output || return
  g_told='' g_begun=''
  while read -r g_event; do
    case $g_event in
      tick)
        [ -n "$g_follow$g_told" ] || [ -d "$g_task" ] || {
          lose_task
          break
        }
        # A login shell may have closed the way by which its start is told. A tick may be older than the
        # start that it finds the output of.
        [ ! -s started ] || tell_start
        [ -z "$g_begun" ] || copy_growth
        # One that was killed says nothing.
        [ -n "$g_follow$g_told" ] || [ ! -s supervisor ] || supervisor_lives || tell_end
        ;;
      started) tell_start ;;
      ending) say ending '' ;;
      'waiting '* | 'slot '* | 'full '* | 'fragile '* | 'error '*) say "${g_event%% *}" "${g_event#* }" ;;
      ended)
        [ ! -s started ] || tell_start
        [ -n "$g_told" ] || tell_end
        ;;
      gone) tell_gone ;;
      # Nobody else reads the channel any more.
      idle) break ;;
      # The origin is gone. The task is not: whoever asks next finds it.
      eof) break ;;
    esac
  done
  close_output
}

# tell_start: tells that the script runs, once.
tell_start() {
  [ -z "$g_begun" ] || return 0
  g_begun=yes g_pid=none
  read -r g_pid g_rest <"$g_pids/$g_id"
  say started "$g_task/dir"
}

# lose_task: the task, or somebody else, has removed what it writes to. Nobody could end it any more.
lose_task() {
  # With a tombstone it has ended, and its number may be another one's.
  [ -z "$g_begun" ] || [ -e "$g_gone/$g_id" ] || {
    bury_task
    end_tree 10
  }
  say error "gone $g_task: was removed"
}

# open_output: goes where the output is, and to where in it is wanted by who attaches.
open_output() {
  # A file that can't be opened would end some shells.
  cd "$g_task" && [ -r out ] && [ -r err ] && exec 5<out 6<err || return
  g_sent_out=0 g_sent_err=0
  [ -z "$g_follow" ] || skip_both
}

close_output() {
  exec 5<&- 6<&-
  cd /
}

# copy_growth: sends what both outputs have grown by.
copy_growth() {
  # Most often nothing has been written so far; to look at sizes takes a program.
  [ "$g_sent_out$g_sent_err" != 00 ] || [ -s out ] || [ -s err ] || return 0
  # shellcheck disable=SC2046  # two lines of nine fields, err before out
  set -- $(ls -ln out err 2>/dev/null)
  [ $# -eq 18 ] || return
  copy_to "${14}" "$5"
}

# copy_to OUT ERR: sends what follows of both outputs, which are so long by now.
copy_to() {
  [ "$g_from_out" = none ] || copy_bytes out "$1" "$g_sent_out" <&5
  g_sent_out=$1
  [ "$g_from_err" = none ] || copy_bytes err "$2" "$g_sent_err" <&6
  g_sent_err=$2
}

# copy_bytes NAME TO FROM: sends these bytes of the file that is stdin, which stands there, as a frame.
copy_bytes() {
  reckon "$2" - "$3"
  case $g_sum in 0 | -*) return ;; esac
  printf '%s %s %s\n' "$g_nonce" "$1" "$g_sum" >&4
  copy_file "$g_sum" >&4
}

# tell_end: tells how the task ended, once, and sends its files.
tell_end() {
  g_told=yes
  has_ended || supervisor_lives || has_ended || reap
  copy_growth
  has_ended || g_end=
  # What was removed meanwhile was not seen.
  if [ -n "$g_follow" ] && ! are_there; then
    tell_gone
    return
  elif [ -z "$g_end" ] && [ ! -d "$g_task" ]; then
    lose_task
    return
  fi
  say ended "$g_end"
  send_files
}

# send_files: sends the files that are to come home when they are small, and says when they are
# not: `files` asks for them then, and gets all of the channel's rest.
send_files() {
  choose_files || {
    [ "$g_bring" = none ] || are_gone
    say nofiles ""
    return
  }
  [ -z "$g_large" ] || {
    # Half of them are there already: they must be those that were sent.
    [ -z "$(find "$g_task/dir" -newer "$g_task/outcome" 2>/dev/null)" ] || say changed ""
    say large ""
    return
  }
  command -v tar >/dev/null 2>&1 || {
    say damaged "tar: not found, and files are sent with it"
    return
  }
  # 512 blocks of 512 bytes are small; one more tells that there is more. Whole blocks are never
  # read short, since tar writes nothing else.
  g_tells=yes
  {
    (archive) 2>"notes.$$"
    echo $? >"status.$$"
  } | dd ibs=512 obs=65536 count=513 >"small.$$" 2>/dev/null
  g_status=$? g_tells=''
  # shellcheck disable=SC2046  # nine fields
  set -- $(ls -ln "small.$$")
  # On a full disk none of these is whole.
  if [ "$g_status" -ne 0 ] || [ "${5:-262145}" -gt 262144 ] || ! read -r g_status <"status.$$"; then
    rm -f "small.$$"
    say large ""
    return
  fi
  [ "$g_status" = 0 ] || say damaged "$(dd bs=4096 count=1 <"notes.$$" 2>/dev/null)"
  are_gone
  printf '%s files %s\n' "$g_nonce" "$5" >&4
  cat "small.$$" >&4
  # Others may fetch them, too, before the task is removed.
  [ -z "$g_follow" ] || rm -f "small.$$" "notes.$$" "status.$$"
}

# are_gone: says so when somebody has removed the task, while its files were looked at.
are_gone() {
  [ ! -e "$g_gone/$g_id" ] || {
    say gone ''
    say damaged "$g_task: was removed meanwhile"
  }
}

# open_files: lets this user read the task's directory, which the task may have closed: globs would
# match nothing in it.
open_files() {
  { [ -r "$g_task/dir" ] && [ -x "$g_task/dir" ]; } || chmod u+rwx "$g_task/dir"
}

# choose_files: false when there is nothing to send.
choose_files() {
  case $g_bring in
    none) return 1 ;;
    all)
      # One that the task has removed holds nothing.
      [ -d "$g_task/dir" ] || return
      # What can't be opened the archive stumbles over.
      open_files 2>/dev/null || return 0
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
  open_files && cd "$g_task/dir" || return
  case $g_bring in
    all) tar -cf - --exclude=./DEPS --exclude=./.geto-script . ;;
    globs)
      # A glob in a closed directory says that there is nothing.
      case $g_globs in */*) find . -type d ! -perm -500 -exec chmod u+rx {} \; || [ $? = 127 ] || return ;; esac
      set --
      IFS=$g_nl
      for g_rest in $g_globs; do
        if [ -e "./$g_rest" ] || [ -L "./$g_rest" ]; then
          set -- "$@" "./$g_rest"
        else
          [ -z "$g_tells" ] || say unmatched "$g_rest"
        fi
      done
      if [ $# -eq 0 ]; then
        # An archive with no members.
        dd if=/dev/zero bs=512 count=2 2>/dev/null
      else
        # GNU tar takes backslashes in names for escapes unless told not to; others don't know the option.
        g_rest=
        case $* in *\\*) case $(tar --version 2>/dev/null) in *GNU*) g_rest=--no-unquote ;; esac ;; esac
        tar -cf - ${g_rest:+"$g_rest"} "$@"
      fi
      ;;
  esac
}

# request files FROM: sends the archive of the files of the task that ended, from that byte to the end
# of the channel.
request_files() {
  case ${1:-0} in
    0)
      (archive) >&4
      g_status=$?
      ;;
    *)
      {
        (archive)
        echo $? >"$g_task/status.$$"
      } | {
        reckon "$1" + 1
        tail -c "+$g_sum"
      } >&4
      read -r g_status <"$g_task/status.$$" || g_status=1
      ;;
  esac
  # What was removed meanwhile may look whole.
  [ ! -e "$g_gone/$g_id" ] || exit 120
  exit "${g_status:-1}"
}
