#compdef log_capturer
# Completion of log_capturer for zsh. The program itself says what may come.
_log_capturer() {
  local -a found
  local line
  for line in "${(@f)$("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
    [[ -n $line ]] || continue
    if [[ $line == :file ]]; then
      [[ $PREFIX == *=* ]] && compset -P '*='
      _files
      return
    fi
    # A colon stands between a word and its meaning, so those in words are
    # marked.
    found+=("${${line%%$'\t'*}//:/\\:}${${(M)line:#*$'\t'*}:+:${line#*$'\t'}}")
  done
  _describe log_capturer found
}
if [[ ${funcstack[1]} == _log_capturer ]]; then
  _log_capturer "$@"
else
  compdef _log_capturer log_capturer
fi
