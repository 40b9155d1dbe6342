import type { ModerationPart } from '../../inference/moderation.ts';
import { INPUT, openRedaction, type RedactionCall } from './redact-texts.ts';

type Inputs = readonly (readonly ModerationPart[])[];

/**
 * Returns the inputs of a moderation without their personal data.
 * @throws LambentError `content_filter` for a value that is refused, and for images, unless the policy lets them pass; as
 * `Guardrail.findPersonalData`
 */
export async function maskModerations(inputs: Inputs, call: RedactionCall): Promise<Inputs> {
  const redact = await openRedaction(call, (search) => {
    for (const part of inputs.flat()) {
      if (part.type === 'image') search.visitUnsearchable(INPUT.param);
      if (!isImageData(part)) search.visit(getText(part), INPUT);
    }
  });
  if (redact === undefined) return inputs;
  return inputs.map((parts) => parts.map((part) => (isImageData(part) ? part : mapPart(part, redact))));
}

/** Values in the data of an image would be matches by chance. */
function isImageData(part: ModerationPart): boolean {
  return part.type === 'image' && part.url.startsWith('data:');
}

function getText(part: ModerationPart): string {
  return part.type === 'text' ? part.text : part.url;
}

function mapPart(part: ModerationPart, map: (text: string) => string): ModerationPart {
  return part.type === 'text' ? { ...part, text: map(part.text) } : { ...part, url: map(part.url) };
}
