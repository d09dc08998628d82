function rig_http(url)
% A rig over HTTP, for MATLAB and for GNU Octave; put your display and recording into `show`.
%   rig_http('http://127.0.0.1:8765')
settings = {'Timeout', 60};  % longer than the bridge leaves a rig waiting
if ~isempty(getenv('XDREAM_RIG_TOKEN'))
    settings = [settings, {'HeaderFields', {'Authorization', ['Bearer ' getenv('XDREAM_RIG_TOKEN')]}}];
end
% The options are made anew for each request: Octave's change with their use.
block = decoded(webread([url '/block'], 'rig', 'matlab', 'pixels', 'raw', weboptions(settings{:})));
while ~strcmp(block.state, 'over')
    if strcmp(block.state, 'showing')
        answer = struct('session', block.session, 'block', block.block, 'fence', block.fence, 'last', true);
        for k = 1:numel(block.order)
            one = block.order(k);
            bytes = matlab.net.base64decode(block.images.(matlab.lang.makeValidName(one.image)));
            image = permute(reshape(bytes, 3, block.size_px, block.size_px), [3 2 1]);
            answer.responses{k} = struct('image', one.image, 'repeat', one.repeat, 'values', show(image, block));
        end
        disp(decoded(webwrite([url '/responses'], 'json', jsonencode(answer), weboptions(settings{:}))));
    else
        disp(block.reason); pause(1);  % paused
    end
    block = decoded(webread([url '/block'], 'rig', 'matlab', 'pixels', 'raw', weboptions(settings{:})));
end
end

function values = show(image, block)
% Show a uint8 image (rows x columns x RGB) for block.show_ms and return the response of each channel.
values = mean(double(image(:))) + (1:numel(block.channels));
end

function reply = decoded(reply)
% MATLAB has read the JSON already; Octave has not.
if ischar(reply), reply = jsondecode(reply); end
end
