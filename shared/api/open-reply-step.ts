import { createSQSClient } from '../aws/sqs.ts';
import type { CompletionStep } from '../jobs/completion.ts';
import { createSendText } from '../jobs/ticket-queue.ts';
import { createReplyStep } from './reply-queue.ts';

/**
 * Creates the completion step that sends replies, with an SQS client of its own. Import this file only when a reply must be sent.
 * @param queues queue URLs by alias
 */
export function openReplyStep(queues: Readonly<Record<string, string>>): CompletionStep {
  return createReplyStep(queues, createSendText(createSQSClient()));
}
