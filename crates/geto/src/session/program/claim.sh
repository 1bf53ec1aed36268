# shellcheck shell=sh
#
# A task's way to this host: its claim, and what belongs to it.

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
  { printf '%2048s\n' '' >"$g_task/outcome" && true >"$g_task/out" && true >"$g_task/err"; } 2>/dev/null || {
    give_up disk "$g_task: no room for the task's own files, or it can't be written"
    return 1
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
