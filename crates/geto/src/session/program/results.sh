# shellcheck shell=sh
#
# A task's way home: output while it runs, files when it has ended.

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
