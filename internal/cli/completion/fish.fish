# Completion of log_capturer for fish. The program itself says what may come.
function __log_capturer_complete
    set -l before (commandline -opc)
    set -l current (commandline -ct)
    set -l found ($before[1] __complete $before[2..-1] "$current" 2>/dev/null)
    if test "$found[1]" = :file
        set -l flag (string match -r '^--[a-z-]+=' -- "$current")
        for path in (__fish_complete_path (string replace -r '^--[a-z-]+=' '' -- "$current"))
            echo "$flag$path"
        end
    else
        printf '%s\n' $found
    end
end
complete -c log_capturer -f -a '(__log_capturer_complete)'
